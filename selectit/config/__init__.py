"""The schema: what may stand in a recipe, and in the configuration of each stage; one module for each section."""

from __future__ import annotations

from selectit.config.evaluate import (
    BenchmarkConfig,
    EvaluateConfig,
    EvaluateStage,
    GradeStage,
    JudgeConfig,
    JudgeSetting,
)
from selectit.config.finetune import FinetuneConfig, FinetuneStage, LoraSettings
from selectit.config.inputs import BadRows, ModelConfig, PoolConfig, Quantization, SampleConfig
from selectit.config.losses import LossStage, LossTemplate
from selectit.config.recipe import ArmConfig, RecipeConfig, SeedsConfig, WandbConfig
from selectit.config.schema import (
    Config,
    Location,
    LocationMark,
    execution,
    is_execution,
    location_mark,
    nested_configs,
)
from selectit.config.score import (
    DEFAULT_RATING_PROMPTS,
    NUM_RATINGS,
    LongRows,
    RatingTemplate,
    ScoreConfig,
    ScoreStage,
    Turns,
)
from selectit.config.select import (
    SEEDED_STRATEGIES,
    FullSelect,
    IFDSelect,
    Length,
    LengthSelect,
    PerplexitySelect,
    RandomMatchedSelect,
    RandomRestSelect,
    RandomSelect,
    Ratio,
    SelectConfig,
    SelectDefaults,
    SelectITSelect,
    SelectStage,
    other_arm,
)

StageConfig = ScoreStage | LossStage | SelectStage | FinetuneStage | EvaluateStage | GradeStage

__all__ = [
    "DEFAULT_RATING_PROMPTS",
    "NUM_RATINGS",
    "SEEDED_STRATEGIES",
    "ArmConfig",
    "BadRows",
    "BenchmarkConfig",
    "Config",
    "EvaluateConfig",
    "EvaluateStage",
    "FinetuneConfig",
    "FinetuneStage",
    "FullSelect",
    "GradeStage",
    "IFDSelect",
    "JudgeConfig",
    "JudgeSetting",
    "Length",
    "LengthSelect",
    "Location",
    "LocationMark",
    "LongRows",
    "LoraSettings",
    "LossStage",
    "LossTemplate",
    "ModelConfig",
    "PerplexitySelect",
    "PoolConfig",
    "Quantization",
    "RandomMatchedSelect",
    "RandomRestSelect",
    "RandomSelect",
    "RatingTemplate",
    "Ratio",
    "RecipeConfig",
    "SampleConfig",
    "ScoreConfig",
    "ScoreStage",
    "SeedsConfig",
    "SelectConfig",
    "SelectDefaults",
    "SelectITSelect",
    "SelectStage",
    "StageConfig",
    "Turns",
    "WandbConfig",
    "execution",
    "is_execution",
    "location_mark",
    "nested_configs",
    "other_arm",
]
