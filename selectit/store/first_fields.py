"""Which fields of a configuration are part of every fingerprint, and which came later.

Each class of a stage's configuration has here the identity fields that it had when fingerprints became stable. A field
or a class that is not here was added later: its fields are left out of the identity where they stand at their defaults,
so that finished work keeps its fingerprint. Nothing is added to `FIRST_FIELDS`.
"""

from __future__ import annotations

from typing import Any

_FIRST_FIELDS = {
    "ScoreStage": "pool model prompts max_length long_rows turns template quantization backend",
    "LossStage": "pool model text template max_length quantization",
    "SelectStage": "pool select seed tokenizer prompts keeps_scores theta",
    "FinetuneStage": "model finetune seed bad_rows keep_epochs",
    "EvaluateStage": "benchmark data model adapter limit template judge backend epoch seed",
    "GradeStage": "benchmark data answers limit grader judge",
    "PoolConfig": "path split format sample limit bad_rows",
    "ModelConfig": "path dtype",
    "FullSelect": "strategy",
    "RandomSelect": "strategy ratio",
    "RandomRestSelect": "strategy ratio",
    "LengthSelect": "field unit strategy ratio",
    "RandomMatchedSelect": "field unit strategy num_bins",
    "SelectITSelect": "strategy ratio level alpha num_rating_prompts fidelity",
    "PerplexitySelect": "strategy ratio order over template",
    "IFDSelect": "strategy ratio form unconditioned template",
    "FinetuneConfig": (
        "method template control_tokens learning_rate budget num_train_epochs max_steps budget_tokens "
        "global_batch_size micro_batch_size packing max_length max_truncated_share lr_scheduler_type warmup_ratio "
        "weight_decay max_grad_norm optimizer neftune_noise_alpha order curriculum validation early_stopping "
        "replay adapter lora deepspeed"
    ),
    "BenchmarkConfig": (
        "name tasks items_per_task sample_seed draws prompts num_fewshot max_gen_toks until num_samples pass_at "
        "temperature top_p chat_template grader metric"
    ),
    "JudgeConfig": "model base_url prompt verdict max_tokens temperature extra_body max_missing",
    "SampleConfig": "num_rows seed",
    "ValidationSplit": "share num_rows seed",
    "ValidationFile": "path split format sample limit bad_rows",
    "EarlyStopping": "metric patience",
    "ReplayConfig": "path split format sample limit bad_rows share seed",
    "LoraSettings": "r alpha dropout target_modules use_rslora use_dora modules_to_save",
}
FIRST_FIELDS = {name: frozenset(fields.split()) for name, fields in _FIRST_FIELDS.items()}

_LATER_OF_A_POOL: dict[str, Any] = {
    "name": None,
    "columns": None,
    "roles": None,
    "stratify_by": None,
    "deduplicate": None,
    "ids": "column",
}
LATER_DEFAULTS: dict[str, dict[str, Any]] = {
    "PoolConfig": _LATER_OF_A_POOL,
    "ValidationFile": _LATER_OF_A_POOL,
    "ReplayConfig": _LATER_OF_A_POOL,
    "ColumnsConfig": dict.fromkeys(("instruction", "response", "input", "conversation", "system", "history", "tools")),
    "RolesConfig": {"system": [], "user": [], "assistant": [], "tool": []},
    "LossStage": {"quantities": ["loss"]},
    "GradeStage": {"kept_notes": []},
    "NamedTaskConfig": {
        "tasks": None, "items_per_task": None, "sample_seed": 1234, "draws": "each_task", "prompts": None,
        "num_fewshot": None, "max_gen_toks": None, "until": None, "num_samples": 1, "pass_at": [1], "temperature": 0.0,
        "top_p": 1.0, "chat_template": False, "grader": None, "scale": 1.0,
    },
}  # fmt: skip
"""Class -> field that was added later -> its default when it was added, as JSON: what an identity without it means.
It stays as it is when the default changes, so that a new default has another fingerprint than the old one."""
