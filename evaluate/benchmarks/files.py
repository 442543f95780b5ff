"""Which tasks a benchmark has, and which files of a data folder it reads.

The layouts are those in which the benchmarks' authors publish them. Reads evaluate/benchmarks/tasks/*.yaml; imports
nothing heavy, so that a plan can be made and fingerprinted in no time.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import get_args

import yaml

from selectit.config import BenchmarkConfig
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig

MATHEMATICS = ("math500", "minerva", "olympiadbench", "aime24", "amc23")
"""Benchmarks with a final answer that math-verify compares."""
CHOICE = ("mmlu", "mmlu_medical", "medqa", "medmcqa")
"""Benchmarks whose answer is the most probable of a question's choices."""
CODE = ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus")
"""Benchmarks whose answers are programs that are run."""
EXPORTED = ("bigcodebench",)
"""Benchmarks whose answers are written for their authors' own grader."""
FOLDER_ONLY = ("humaneval_plus", "mbpp_plus")
"""Benchmarks that the hub does not have in a form that can be graded here."""
TRANSLATION = ("wmt22_en_de", "wmt22_de_en", "wmt22_en_zh", "wmt22_zh_en")
COMET = tuple(f"{name}_comet" for name in TRANSLATION)
"""The same translations, scored by COMET."""
JUDGED = ("alpaca_eval", "alpaca_eval_2", "arena_hard")
"""Benchmarks whose answers a judge compares with reference answers."""
BENCHMARKS = (
    "mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval", "alpaca_eval_2",
    *MATHEMATICS, "medqa", "medmcqa", "mmlu_medical", *CODE[1:], *EXPORTED, "arena_hard", *TRANSLATION, *COMET,
)  # fmt: skip

ON_HUB = {
    "mmlu": "cais/mmlu",
    "mmlu_medical": "cais/mmlu",
    "bbh": "SaylorTwift/bbh",
    "gsm8k": "openai/gsm8k",
    "tydiqa": "google-research-datasets/tydiqa",
    "humaneval": "openai/openai_humaneval",
    "alpaca_eval": "tatsu-lab/alpaca_eval",
    "alpaca_eval_2": "tatsu-lab/alpaca_eval",
    "math500": "HuggingFaceH4/MATH-500",
    "minerva": "math-ai/minervamath",
    "olympiadbench": "math-ai/olympiadbench",
    "aime24": "Maxwell-Jia/AIME_2024",
    "amc23": "math-ai/amc23",
    "medqa": "GBaker/MedQA-USMLE-4-options-hf",
    "medmcqa": "openlifescienceai/medmcqa",
    "mbpp": "google-research-datasets/mbpp",
    "bigcodebench": "bigcode/bigcodebench",
    "arena_hard": "lmarena-ai/arena-hard-auto",
    **dict.fromkeys((*TRANSLATION, *COMET), "haoranxu/WMT22-Test"),
}
"""The data set on the hub that a benchmark's task reads; those that are not here are `FOLDER_ONLY`."""

LANGUAGE_CODES = {
    "arabic": "ar", "bengali": "bn", "english": "en", "finnish": "fi", "indonesian": "id",
    "korean": "ko", "russian": "ru", "swahili": "sw", "telugu": "te",
}  # fmt: skip
"""TyDiQA languages as its item ids spell them -> as lm-eval's task names spell them."""

_TASK_PREFIXES = {"mmlu": "mmlu_", "mmlu_medical": "mmlu_", "bbh": "bbh_cot_fewshot_", "tydiqa": "tydiqa_goldp_"}


_CUT_PROMPTS = ("mmlu_selectit", "tydiqa_selectit")
"""Task files whose prompts are cut to a number of tokens of the evaluated model."""


class _NameLoader(yaml.SafeLoader):
    """Reads a task YAML without importing what its `!function` names."""


_NameLoader.add_constructor("!function", lambda loader, node: str(node.value))


def task_file(benchmark: str, prompts: str | None = None) -> Path:
    """Args: prompts: the released form of the benchmark's prompts (`BenchmarkConfig.prompts`); None: its usual one."""
    form = "" if prompts is None else f"_{prompts}"
    return Path(str(files("selectit.evaluate.benchmarks") / "tasks" / f"{benchmark.removesuffix('_comet')}{form}.yaml"))


@cache
def prompt_forms(benchmark: str) -> tuple[str, ...]:
    """Whose released prompts a benchmark can be asked in, besides its own task's."""
    forms = get_args(get_args(BenchmarkConfig.model_fields["prompts"].annotation)[0])
    return tuple(form for form in forms if task_file(benchmark, form).is_file())


def needs_tokenizer(benchmark: BenchmarkConfig) -> bool:
    """Whether the text of its prompts depends on the evaluated model's tokenizer."""
    if isinstance(benchmark, NamedTaskConfig):
        return benchmark.chat_template
    return benchmark.chat_template or task_file(benchmark.name, benchmark.prompts).stem in _CUT_PROMPTS


def languages(benchmark: str) -> tuple[str, str]:
    """Codes of the source and of the target language of a translation benchmark."""
    _, source, target = benchmark.removesuffix("_comet").split("_")
    return source, target


@cache
def lm_eval_tasks(benchmark: str, prompts: str | None = None) -> dict[str, str]:
    """Task names as a profile spells them (anatomy, word_sorting, finnish) -> lm-eval's; {} without tasks."""
    if benchmark not in _TASK_PREFIXES:
        return {}
    prefix = _TASK_PREFIXES[benchmark]
    group = yaml.load(task_file(benchmark, prompts).read_text(encoding="utf-8"), Loader=_NameLoader)
    languages = {code: language for language, code in LANGUAGE_CODES.items()}
    names = [name.removeprefix(prefix) for name in group["task"][0]["task"]]
    return {languages[name] if benchmark == "tydiqa" else name: prefix + name for name in names}


def chosen_tasks(benchmark: BenchmarkConfig) -> tuple[str, ...]:
    """The tasks that a profile asks for, all where it names none.

    Raises: UserError for a task that the benchmark does not have.
    """
    allowed = lm_eval_tasks(benchmark.name, benchmark.prompts)
    for task in benchmark.tasks or ():
        if task not in allowed:
            raise UserError(
                f"{benchmark.name} has no task '{task}'.{did_you_mean(task, allowed)} "
                + (f"Its tasks: {', '.join(allowed)}" if allowed else "It has one task; leave `tasks` out")
            )
    return benchmark.tasks or tuple(allowed)


def data_files(benchmark: BenchmarkConfig, data: Path) -> list[Path]:
    """The files of a data folder that a benchmark reads, in a fixed order; optional ones where they are there.

    Raises: UserError naming the first other file that is not there.
    """
    tasks = chosen_tasks(benchmark)
    match benchmark.name:
        case "mmlu" | "mmlu_medical":
            names = [f"mmlu/{split}/{subject}_{split}.csv" for subject in tasks for split in ("dev", "test")]
        case "bbh":
            names = [f"bbh/{task}.json" for task in tasks]
        case name if name in (*TRANSLATION, *COMET):
            pair = "-".join(languages(name))
            names = [f"wmt22/test.{pair}.{code}" for code in languages(name)]
        case name if name in FILES:
            names = [f"{name}/{file}" for file in FILES[name]]
        case other:
            raise UserError(f"no benchmark '{other}'.{did_you_mean(other, BENCHMARKS)} Known: {', '.join(BENCHMARKS)}")
    optional = [data / benchmark.name / file for file in OPTIONAL_FILES.get(benchmark.name, ())]
    return [existing(data / name) for name in names] + [path for path in optional if path.is_file()]


def unzipped(path: Path) -> Path:
    """Args: path: of a .gz file; the same file without .gz counts too, where only that one is there."""
    plain = path.with_suffix("")
    return plain if path.suffix == ".gz" and plain.is_file() and not path.is_file() else path


FILES = {
    "gsm8k": ("test.jsonl",),
    "tydiqa": ("tydiqa-goldp-v1.1-train.json", "tydiqa-goldp-v1.1-dev.json"),
    "humaneval": ("HumanEval.jsonl.gz",),
    "alpaca_eval": ("text_davinci_003.json",),
    "alpaca_eval_2": ("gpt4_1106_preview.json",),
    **dict.fromkeys(MATHEMATICS, ("test.jsonl",)),
    "humaneval_plus": ("HumanEvalPlus.jsonl.gz",),
    "mbpp": ("mbpp.jsonl",),
    "mbpp_plus": ("MbppPlus.jsonl.gz",),
    "bigcodebench": ("BigCodeBench.jsonl",),
    "arena_hard": ("question.jsonl", "model_answer/gpt-4-0314.jsonl"),
    "medqa": ("phrases_no_exclude_test.jsonl",),
    "medmcqa": ("dev.json",),
}
"""Files of the benchmarks whose files do not depend on the chosen tasks."""
OPTIONAL_FILES = {"alpaca_eval_2": ("df_gamed.csv",)}
"""Files without which a benchmark is scored, but for one metric."""

_HOMES = {
    "mmlu": "data.tar of github.com/hendrycks/test, its folders dev and test",
    "bbh": "the folder bbh of github.com/suzgunmirac/BIG-Bench-Hard",
    "gsm8k": "grade_school_math/data/test.jsonl of github.com/openai/grade-school-math",
    "tydiqa": "the GoldP files v1.1 that github.com/google-research-datasets/tydiqa names",
    "humaneval": "data/HumanEval.jsonl.gz of github.com/openai/human-eval",
    "alpaca_eval": "results/text_davinci_003/model_outputs.json of github.com/tatsu-lab/alpaca_eval",
    "alpaca_eval_2": "results/gpt4_1106_preview/model_outputs.json of github.com/tatsu-lab/alpaca_eval",
    "math500": "test.jsonl of huggingface.co/datasets/HuggingFaceH4/MATH-500",
    "minerva": "evaluation/data/minerva_math/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
    "olympiadbench": "evaluation/data/olympiadbench/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
    "aime24": "evaluation/data/aime24/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
    "amc23": "evaluation/data/amc23/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
    "medqa": "data_clean/questions/US/4_options/phrases_no_exclude_test.jsonl of the archive that "
    "github.com/jind11/MedQA names",
    "medmcqa": "dev.json of the archive that github.com/medmcqa/medmcqa names",
    "wmt22": "outputs/wmt22_outputs/wmt-testset of github.com/fe1ixxu/ALMA, its files test.*, without their folders",
    "arena_hard": "the folder data/arena-hard-v0.1 of github.com/lmarena/arena-hard-auto",
    "humaneval_plus": "HumanEvalPlus.jsonl.gz of the releases of github.com/evalplus/humanevalplus_release",
    "mbpp": "mbpp/mbpp.jsonl of github.com/google-research/google-research",
    "mbpp_plus": "MbppPlus.jsonl.gz of the releases of github.com/evalplus/mbppplus_release",
    "bigcodebench": "the rows of huggingface.co/datasets/bigcode/bigcodebench, one a line",
}
"""Where the authors publish the files of a data folder."""


def existing(path: Path) -> Path:
    """Args:   path: <data>/<benchmark>/..., a file that must be there.
    Raises: UserError with the path that was expected and where its file comes from.
    """
    path = unzipped(path)
    if not path.is_file():
        depth, name = next((n, part.name) for n, part in enumerate(path.parents) if part.name in _HOMES)
        fetching = f"selectit data fetch --benchmarks {name} --out {path.parents[depth + 1]}"
        raise UserError(
            f"benchmark data is missing: {path}\nPut the file there in its authors' layout (docs/evaluation.md): "
            f"`{fetching}` where there is internet, or by hand; it is published as {_HOMES[name]}. Or set "
            "evaluate.data to another folder or to `hub`, or leave this benchmark or task out of the profile."
        )
    return path
