"""The `evaluate` section, the entries of a profile, and the configuration of an evaluate stage."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from selectit import secrets
from selectit.config.inputs import Backend
from selectit.config.schema import Config, LocationMark, Seed, execution, shipped


class RequestFields(dict[str, Any]):
    """Fields of a JSON object that can stand in a frozen configuration."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))


OWN_REQUEST_FIELDS = ("model", "messages", "logprobs", "top_logprobs", "n", "stream")
"""Of a judge's request; another value would change what its answer means."""


def _request_fields(value: dict[str, Any]) -> RequestFields:
    for name in value:
        if secrets.NAMES.fullmatch(name):
            raise ValueError(f"{name} holds a key; put it into the variable that api_key_env names")
        if name in OWN_REQUEST_FIELDS:
            raise ValueError(f"{name} is set by this project; leave it out")
        if name in ("max_tokens", "temperature") and value[name] is not None:
            raise ValueError(f"write evaluate.judge.{name}; null leaves the field out of the request")
    try:
        is_json = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        is_json = False
    if not is_json:
        raise ValueError(
            "a request is JSON: names in quotes, texts, finite numbers, true, false, null, lists and mappings"
        )
    return RequestFields(value)


class JudgeConfig(Config):
    """A judge behind an OpenAI-compatible endpoint."""

    model: str = Field(min_length=1)
    """As the endpoint names it."""
    base_url: str = "https://api.openai.com/v1"
    """The endpoint. Part of the fingerprint: a model of the same name elsewhere may be another one."""
    prompt: Annotated[str, LocationMark(keywords=("default",))] = "default"
    """`default` (evaluate/judge/prompt.txt), or a file such as those that `selectit data fetch` gets."""
    verdict: Literal["logprobs", "text"] = "logprobs"
    """logprobs: the probabilities of m and M as first token; text: m, M or a ranking in the answer's text."""
    max_tokens: int | None = Field(None, ge=1)
    """Of an answer. None: 1 for logprobs, 100 for text, 4096 for Arena-Hard's verdicts. Judges that think need more."""
    temperature: float = Field(0.0, ge=0, le=2)
    extra_body: Annotated[dict[str, Any], AfterValidator(_request_fields)] = RequestFields()
    """Further fields of the request, as the endpoint names them; max_tokens or temperature null: sent without it."""
    max_missing: float = Field(0.02, ge=0, lt=1)
    """Share of the judgements that may be refused or unreadable; they are left out of the mean. Above it, no rate."""
    api_key_env: str | None = execution("OPENAI_API_KEY")
    """Environment variable that holds the key. None: the endpoint asks for none."""
    max_concurrency: int = execution(8, ge=1)
    """Requests under way at a time."""
    timeout_seconds: float = execution(60.0, gt=0)
    """Of one try, from the request to the last byte of its answer."""
    max_retries: int = execution(10, ge=0)
    """Of one request that was refused (429), failed (5xx) or timed out."""
    usd_per_million_input_tokens: float | None = execution(None, ge=0)
    usd_per_million_output_tokens: float | None = execution(None, ge=0)
    """With the former, what the answers cost is reported."""
    cache: str = execution("~/.cache/selectit/judge", min_length=1)
    """Folder of the answers, which are never paid twice; a relative one is read from the current folder."""

    @field_validator("api_key_env")
    @classmethod
    def _is_the_name_of_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not secrets.is_variable(value):
            raise ValueError(
                "it is not the name of an environment variable, such as OPENAI_API_KEY; a key itself never stands in a "
                "recipe, which is kept in manifests and reports"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _is_an_address_without_a_key(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"found {value!r}; write an address such as http://127.0.0.1:8000/v1")
        if "@" in parts.netloc or parts.query:
            raise ValueError("an address is kept in manifests; put the key into the variable that api_key_env names")
        return value


JudgeSetting = Annotated[
    Annotated[str, Tag("hf")] | Annotated[JudgeConfig, Tag("endpoint")],
    Discriminator(lambda value: "hf" if isinstance(value, str) else "endpoint"),
    LocationMark(prefixes=("hf:",)),
]
"""`hf:<model>`: an in-process log-probability judge; a mapping: a judge behind an endpoint."""


PROFILES = shipped("evaluate/profiles")
"""Any other value is a path."""


class GradingFields(Config):
    """What the section shares with the stages that grade answers."""

    data: Annotated[str, LocationMark(keywords=("hub",))] = "hub"
    """`hub`, or a folder that holds mmlu/, bbh/, gsm8k/ and so on, as docs/evaluation.md has them."""
    limit: int | None = Field(None, ge=1)
    """At most this many items per task (an MMLU subject, a BBH task and a TyDiQA language are tasks)."""
    judge: JudgeSetting | None = None
    """Who judges AlpacaEval's answers. None: they are written, not judged."""
    sandbox: Literal["bwrap", "none"] = execution("bwrap")
    """Where model-written code runs. `none` runs it unprotected and must be asked for."""
    comet_python: str | None = execution(None)
    """A Python with unbabel-comet. None: what COMET would score is not run."""


class AnsweringFields(GradingFields):
    """What the section shares with the stage that asks a model."""

    batch_size: int | None = execution(None, ge=1)
    """Rows of a forward pass at most. None: as many as fit; a batch that does not fit is halved in any case."""
    num_processes: int | None = execution(None, ge=1)
    """Processes that answer. None: one per GPU; on CPU one per core where the work is enough."""
    backend: Backend = "transformers"
    vllm_python: str | None = execution(None, min_length=1)
    """A Python with vLLM. None: the one that runs this."""


def _number_as_name(value: Any) -> Any:
    """The profile 2026 needs no quotes in a YAML file."""
    return str(value) if type(value) is int else value


class EvaluateConfig(AnsweringFields):
    profile: Annotated[str, BeforeValidator(_number_as_name), LocationMark(keywords=PROFILES)] = "paper-2023"
    """A protocol of evaluate/profiles/ or a YAML file of the same form."""
    benchmarks: tuple[str, ...] | None = Field(None, min_length=1)
    """Which of the profile's benchmarks; default: all."""
    checkpoints: Literal["last", "all"] = "last"
    """all: the weights after every epoch too, as a curve in the report; the table has the last ones (with
    early_stopping the best) in either case."""

    @model_validator(mode="after")
    def _backend_gets_only_what_it_reads(self) -> EvaluateConfig:
        if self.vllm_python is not None and self.backend != "vllm":
            raise ValueError(f"vllm_python is for backend vllm, and backend is {self.backend}; set backend: vllm")
        if self.num_processes is not None and self.backend == "vllm":
            raise ValueError("num_processes is for backend transformers; vLLM starts its own, one engine in all")
        return self


class BenchmarkConfig(Config):
    """How one benchmark is run: one entry of a profile."""

    name: str
    """A folder of evaluate/benchmarks/ declares it."""
    tasks: tuple[str, ...] | None = Field(None, min_length=1)
    """MMLU subjects, BBH tasks or TyDiQA languages; default: all of the benchmark."""
    items_per_task: int | None = Field(None, ge=1)
    """A seeded sample of this many items per task; default: every item."""
    sample_seed: Seed = 42
    """Seed of that sample."""
    draws: Literal["each_task", "one_generator"] = "each_task"
    """each_task: every task's sample starts from the seed; one_generator: one generator draws for all tasks, sorted by
    name, and then TyDiQA's demonstrations, as released scripts do; with `tasks` for those alone, so other items."""
    prompts: Literal["selectit", "instructdiff"] | None = None
    """Whose released prompts are asked (<benchmark>_<prompts>.yaml in its folder); default: those of the benchmark."""
    num_fewshot: int | None = Field(None, ge=0)
    """Only where the benchmark's shots are not fixed by its task."""
    max_gen_toks: int | None = Field(None, ge=1)
    """New tokens at most (generation benchmarks)."""
    until: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Stop strings (generation benchmarks)."""
    num_samples: int = Field(1, ge=1)
    """Completions per item (code, mathematics)."""
    pass_at: tuple[Annotated[int, Field(ge=1)], ...] = Field((1,), min_length=1)
    """Values of k for pass@k (code)."""
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False)
    """0: greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    chat_template: bool = False
    """True: prompts stand in the training template; False: the benchmark's own base-model prompt."""
    grader: str | None = None
    """What reads and scores answers that are texts, one of those that the benchmark declares; default: its
    first."""
    metric: str
    """The metric that goes into the table."""
    revision: str | None = Field(None, min_length=1)
    """Branch, tag or commit of its data set; only where evaluate.data is `hub`. Default: main."""
    notes: tuple[str, ...] = execution(())
    """What a reader of its numbers must know; shown with the prompts and kept in the result."""
