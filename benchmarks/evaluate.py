"""Speed of evaluation: lm-eval's own Hugging Face model and ours on the same requests, interleaved in one run.

    python benchmarks/evaluate.py
    python benchmarks/evaluate.py --data FOLDER --tokenizer FOLDER --benchmarks mmlu,bbh --limit 8

The model has random weights, so a text goes on to --max-gen-toks; its shape decides the speed. Prints one line
per benchmark and way: ratios to the first way are medians over the rounds, with their range; the one by CPU time
is steadier on a machine that is shared and with OMP_NUM_THREADS=1. Building prompts is the same in all ways and not
counted; making token ids of them is. docs/performance.md holds what was measured.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from selectit.config import ModelConfig
from selectit.evaluate.benchmarks.files import chosen_tasks
from selectit.evaluate.benchmarks.questions import ask, load_questions
from selectit.evaluate.model.harness import quiet
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference.load import device, load_tokenizer, resolve_dtype
from selectit.templates import chat_template

DEMO = Path(__file__).resolve().parents[1] / "demo"
SHAPE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
GREEDY = ("mmlu", "bbh", "gsm8k", "tydiqa", "alpaca_eval")
"""Where lm-eval's answers and ours can be compared; of HumanEval's samples the draws are others."""


Requests = dict[str, list[Instance]]
"""Kind of lm-eval's requests -> the requests."""
Way = Callable[[Requests], list[Any]]


class Recorder(LM):
    """Keeps what it is asked."""

    tokenizer_name = "recorder"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.requests: Requests = {"loglikelihood": [], "generate_until": []}
        self._tokenizer = tokenizer

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        text = self._tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        assert isinstance(text, str)
        return text

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        self.requests["loglikelihood"] += requests
        return [(0.0, False)] * len(requests)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self.requests["generate_until"] += requests
        return [""] * len(requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError


def main() -> None:
    arguments = _arguments()
    tokenizer = load_tokenizer(ModelConfig(path=str(arguments.tokenizer)))
    torch.manual_seed(0)
    with device():
        dtype = resolve_dtype(ModelConfig(path="random"))
        config = LlamaConfig(**SHAPE, vocab_size=len(tokenizer), max_position_embeddings=4096)
        model = LlamaForCausalLM(config).to(dtype).eval()
    console = Console(width=150)
    console.print(
        f"{model.num_parameters() / 1e6:.0f} M parameters, {dtype}, {model.device}, {torch.get_num_threads()} "
        f"threads; lm-eval with batches of {arguments.batch_size}; {arguments.rounds} rounds",
        highlight=False,
    )
    for name in arguments.benchmarks.split(","):
        stage = _stage(name, arguments)
        requests = _requests(stage, tokenizer)
        console.print(_compare(name, requests, _ways(model, tokenizer, stage, arguments), arguments.rounds))


def _compare(name: str, requests: Requests, ways: dict[str, Way], rounds: int) -> Table:
    """Args: ways: lm-eval's first."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu_seconds: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, list[Any]] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            started, cpu_started = time.perf_counter(), _cpu_seconds()
            found[way] = run(requests)
            seconds[way].append(time.perf_counter() - started)
            cpu_seconds[way].append(_cpu_seconds() - cpu_started)
    table = Table(box=None, pad_edge=False)
    for column in (
        "benchmark", "way", "requests", "per second", "times lm-eval", "range", "by CPU time", "answers that differ",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column in ("benchmark", "way") else "right")
    first = next(iter(ways))
    num_requests = sum(map(len, requests.values()))
    for way in ways:
        ratios = [a / b for a, b in zip(seconds[first], seconds[way], strict=True)]
        cpu = [a / b for a, b in zip(cpu_seconds[first], cpu_seconds[way], strict=True)]
        differ = _differences(found[first], found[way]) if name in GREEDY else "not compared"
        table.add_row(
            name, way, str(num_requests), f"{num_requests / statistics.median(seconds[way]):.2f}",
            f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}",
            f"{statistics.median(cpu):.2f}", differ,
        )  # fmt: skip
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEMO / "benchmarks")
    parser.add_argument("--tokenizer", type=Path, default=DEMO / "model", help="folder of a model or a tokenizer")
    parser.add_argument("--profile", default="miniature")
    parser.add_argument("--benchmarks", default="mmlu,bbh,gsm8k,tydiqa,humaneval")
    parser.add_argument("--num-tasks", type=int, default=2, help="subjects of MMLU, tasks of BBH")
    parser.add_argument("--limit", type=int, default=8, help="items per task")
    parser.add_argument("--max-gen-toks", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8, help="of lm-eval's own model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-processes", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def _stage(name: str, arguments: argparse.Namespace) -> EvaluateStage:
    benchmark = load_profile(arguments.profile).benchmarks[name]
    changes: dict[str, Any] = {"max_gen_toks": arguments.max_gen_toks} if name != "mmlu" else {}
    if name in ("mmlu", "bbh"):
        changes["tasks"] = chosen_tasks(benchmark)[: arguments.num_tasks]
    return EvaluateStage(
        model=ModelConfig(path="random"), benchmark=benchmark.model_copy(update=changes), data=str(arguments.data),
        template="alpaca", limit=arguments.limit, num_processes=1,
    )  # fmt: skip


def _requests(stage: EvaluateStage, tokenizer: PreTrainedTokenizerBase) -> Requests:
    recorder = Recorder(tokenizer)
    tokenizer.chat_template = chat_template("alpaca", tokenizer)
    ask(recorder, load_questions(stage, tokenizer), stage, lambda _: None)
    return {kind: requests for kind, requests in recorder.requests.items() if requests}


def _ways(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, stage: EvaluateStage, arguments: argparse.Namespace
) -> dict[str, Way]:
    with quiet():
        theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=arguments.batch_size)
        ours = EvaluatedLM(model, tokenizer)

    def run(requests: Requests, num_processes: int) -> list[Any]:
        with tempfile.TemporaryDirectory() as out:
            ours.use(stage.model_copy(update={"num_processes": num_processes}), "alpaca", Path(out))
            found = _answers(ours, requests)
        ours.close()
        return found

    ways = {"lm-eval": lambda requests: _answers(theirs, requests), "ours": lambda requests: run(requests, 1)}
    if arguments.num_processes > 1:
        ways[f"ours, {arguments.num_processes} processes"] = lambda requests: run(requests, arguments.num_processes)
    return ways


def _answers(lm: LM, requests: Requests) -> list[Any]:
    with quiet():
        return [answer for kind, some in requests.items() for answer in getattr(lm, kind)(some)]


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _differences(one: Sequence[Any], other: Sequence[Any]) -> str:
    if isinstance(one[0], str):
        # lm-eval's model loses the first space of a text
        return str(sum(a.removeprefix(" ") != b.removeprefix(" ") for a, b in zip(one, other, strict=True)))
    greedy = sum(a[1] != b[1] for a, b in zip(one, other, strict=True))
    largest = max(abs(a[0] - b[0]) for a, b in zip(one, other, strict=True))
    return f"{greedy}, log-probabilities by {largest:.0e}"


if __name__ == "__main__":
    main()
