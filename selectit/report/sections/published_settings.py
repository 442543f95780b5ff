"""A published number's settings against those of a row of ours: which differ, and which are unknown on one side.

Models, pools and raters are compared by hub id or content, never by a bare name; a profile by what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from selectit.config import (
    ArmConfig,
    Config,
    JudgeConfig,
    NeedsLosses,
    NeedsRatings,
    PoolConfig,
    is_execution,
)
from selectit.data.fetch import SOURCES
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading.kinds import Judged
from selectit.recipe.published import PublishedJudge, PublishedNumber
from selectit.recipe.published.numbers import CONTENT, HUB_ID
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.tables.results import Result, settings_of
from selectit.report.tables.subsets import Subset
from selectit.selection.strategy import strategy_of
from selectit.store.fingerprint import Hasher, canonical_json, later_default, later_fields

MAIN_TRAINING = ("learning_rate", "num_train_epochs", "global_batch_size", "max_length", "template")
"""Settings of training that must be known."""
MAIN_ADAPTER = ("r", "alpha")
NOT_TRAINING = (
    "method", "lora", "budget", "max_steps", "budget_tokens",  # compared as settings of their own
    "micro_batch_size", "packing", "deepspeed", "max_truncated_share",  # of how a training is computed, or refused
)  # fmt: skip
"""Every other field must be known where ours is not the default; these are compared only where the paper gives them."""
NOT_RATING = ("models", "rating_prompts", "dtype", "backend")
NOT_JUDGING = ("model", "prompt", "verdict", "max_missing")


class Unknown:
    """In place of a value that nobody gives."""


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Setting:
    """One setting on both sides. `note` describes what is unknown, or in place of both values how they differ."""

    name: str
    theirs: Any
    ours: Any
    note: str = ""

    @property
    def differs(self) -> bool:
        known = self.theirs is not UNKNOWN and self.ours is not UNKNOWN
        return known and canonical_json(self.theirs) != canonical_json(self.ours)

    @property
    def difference(self) -> str:
        return self.note or f"{self.name} {value_text(self.ours)} here, {value_text(self.theirs)} there"

    @property
    def label(self) -> str:
        return f"{self.name} ({self.note})" if self.note else self.name


@dataclass(frozen=True)
class Ours:
    """A row of the table as far as settings go; `results` are those of one column, with a number."""

    config: ArmConfig
    subset: Subset | None
    """One of its selections; None for an untrained model, or where none is finished."""
    raters: tuple[Any, ...]
    """Identity of each model that rated."""
    results: Sequence[Result]


def why_not(settings: Sequence[Setting]) -> list[str]:
    """What keeps two numbers from being compared: what differs first, then what is unknown, by side."""
    reasons = [setting.difference for setting in settings if setting.differs]
    for side, where in (("theirs", "there"), ("ours", "here")):
        names = [s.label for s in settings if getattr(s, side) is UNKNOWN]
        if names:
            reasons.append(f"unknown {where}: {', '.join(names)}")
    return reasons


def all_settings(number: PublishedNumber, ours: Ours) -> list[Setting]:
    return [*base(number, ours), *selection(number, ours), *training(number, ours), *evaluation(number, ours)]


def base(number: PublishedNumber, ours: Ours) -> Iterator[Setting]:
    """Base model and pool."""
    yield _content_setting("model", number.model, _evaluated(ours))
    if trains(ours.config.finetune):
        yield from _pool(number, ours)


def selection(number: PublishedNumber, ours: Ours) -> list[Setting]:
    """Strategy with its settings, ratio, raters; nothing of an untrained model."""
    config, select = ours.config, strategy_of(ours.config)
    if not trains(config.finetune):
        return []
    found = [Setting("strategy", _known(number.strategy), select.strategy)]
    for name, info in type(select).model_fields.items():
        if name in ("strategy", "ratio", *select.unread_fields()):
            continue
        before = later_default(type(select), name) if name in later_fields(type(select)) else UNKNOWN
        theirs = number.select.get(name, before)  # what is not known to have been there was not
        # an arm's name means nothing outside its recipe
        is_arm = is_execution(info)
        found.append(Setting(f"select.{name}", UNKNOWN if is_arm else theirs, getattr(select, name)))
    ratio = 1.0 if select.takes_all else number.ratio
    found.append(Setting("ratio", _known(ratio), _ratio(ours)))
    if any(isinstance(need, NeedsRatings | NeedsLosses) for need in select.all_needs()):
        found.append(_raters(number.raters, ours.raters))
        found += _others("score.", number.score, ours.config.score, NOT_RATING)
    if any(isinstance(need, NeedsRatings) for need in select.all_needs()):
        found.append(_rating_prompts(number.rating_prompts, config.score.rating_prompts))
    return found


def training(number: PublishedNumber, ours: Ours) -> Iterator[Setting]:
    """Training method and its settings."""
    finetune = ours.config.finetune
    yield Setting("training", _known(number.training), finetune.method)
    if not trains(finetune):
        return
    rest = {name: theirs for name, theirs in number.finetune.items() if name != "lora"}
    for name in MAIN_TRAINING:
        mine = _epochs(ours.config) if name == "num_train_epochs" else getattr(finetune, name)
        yield Setting(name, rest.pop(name, UNKNOWN), mine)
    yield from _others("", rest, finetune, (*MAIN_TRAINING, *NOT_TRAINING))
    if finetune.trains_adapter:
        adapter = dict(number.finetune.get("lora", {}))
        for name in MAIN_ADAPTER:
            yield Setting(f"lora.{name}", adapter.pop(name, UNKNOWN), getattr(finetune.lora, name))
        yield from _others("lora.", adapter, finetune.lora, MAIN_ADAPTER)


def _others(prefix: str, theirs: Mapping[str, Any], ours: Config, apart: Sequence[str]) -> Iterator[Setting]:
    """What the paper gives, and what it does not give and is not our default; of the fields `apart`, the former only.

    A field that does not exist yet when a file of numbers is written is so compared too.
    """
    for name, info in type(ours).model_fields.items():
        value = getattr(ours, name)
        unusual = value != info.get_default(call_default_factory=True)
        if name in theirs or (unusual and name not in apart and not is_execution(info)):
            given: Any = UNKNOWN
            if name in theirs:  # with the defaults of a section, as ours
                annotation: Any = info.annotation
                given = _plain(TypeAdapter(annotation).validate_python(theirs[name]))
            yield Setting(f"{prefix}{name}", given, _plain(value))


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Config) else value


def evaluation(number: PublishedNumber, ours: Ours) -> Iterator[Setting]:
    """Profile by content, metric, number of items, limit, unit, judge."""
    first = ours.results[0]
    assert first.artifact is not None, "only rows with a number are compared"
    asked = settings_of(first.artifact)
    for name, theirs in number.evaluate.items():
        yield Setting(f"evaluate.{name}", theirs, asked.get(name))
    if number.profile is None:
        given = f"known are {formats.names(list(number.evaluate))}" if number.evaluate else ""
        yield Setting("profile", UNKNOWN, first.record.get("profile", ""), given)
    if asked.get("chat_template") and not trains(ours.config.finetune):
        yield Setting("template", number.finetune.get("template", UNKNOWN), ours.config.finetune.template)
    if number.data is not None:
        yield _content_setting("data", number.data, asked.get("data"))
    yield Setting("metric", _known(number.metric), first.record.get("metric"))
    yield Setting("items", _known(number.items), _known(first.record.get("num_items") or None))
    yield Setting("limit", number.limit, asked.get("limit"))
    if number.unit == "number":
        yield Setting("unit", "number, of a scale of its own", "percent")
    declared = benchmarks().get(str(number.benchmark))
    if declared is not None and isinstance(declared.grading, Judged):
        yield from _judge(number, declared.grading, first.record.get("judge") or {}, asked)
    if any(not result.is_complete for result in ours.results):
        yield Setting("complete", True, False, "this result is incomplete (see the notes of the evaluation)")


def is_local(ours: Ours) -> bool:
    """Whether the benchmark was read from a folder, which may hold other files than the paper's."""
    artifact = ours.results[0].artifact
    assert artifact is not None, "only rows with a number are compared"
    return not _is_of_hub(settings_of(artifact).get("data"))


def _is_of_hub(data: Any) -> bool:
    return data == "hub" or (isinstance(data, Mapping) and "hub" in data)


def _judge(
    number: PublishedNumber, grading: Judged, record: Mapping[str, Any], asked: Mapping[str, Any]
) -> Iterator[Setting]:
    theirs = number.judge or PublishedJudge()
    setting = asked.get("judge")
    endpoint = setting.get("model") if isinstance(setting, Mapping) else None
    if isinstance(setting, Mapping) and isinstance(endpoint, str):
        yield Setting("judge.model", _known(theirs.model), endpoint)
        asked_for = {name: setting[name] for name in JudgeConfig.model_fields if name in setting and name != "prompt"}
        judge = JudgeConfig(**asked_for)
        if not grading.games:
            yield Setting("judge.verdict", _known(theirs.verdict), judge.verdict)
        yield from _others("judge.", theirs.settings, judge, NOT_JUDGING)
    else:
        yield _content_setting("judge.model", theirs.model, setting)
    prompt = record.get("prompt_sha256")
    yield Setting("judge.prompt", _known(theirs.prompt), f"sha256:{prompt}" if prompt else UNKNOWN)
    by_content = theirs.reference is not None and CONTENT.fullmatch(theirs.reference)
    digest, data = record.get("reference_sha256"), asked.get("data")
    by_name = grading.reference if _is_of_hub(data) else None
    mine = (f"sha256:{digest}" if digest else None) if by_content else by_name
    note = "" if mine or by_content else "of a local folder"
    yield Setting("judge.reference", _known(theirs.reference), _known(mine), note)


def _known(value: Any) -> Any:
    return UNKNOWN if value is None else value


def value_text(value: Any) -> str:
    """A setting's value as text; of a hash the beginning."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return formats.names([value_text(one) for one in value]) or "none"
    text = str(value)
    return f"{text[:19]}…" if CONTENT.fullmatch(text) else repr(text) if text != text.strip() else text


def _pool(number: PublishedNumber, ours: Ours) -> Iterator[Setting]:
    pool: PoolConfig = ours.config.pool
    subset = ours.subset
    identity = None if subset is None else subset.artifact.manifest["identity"]["config"]["pool"]["path"]
    compared = _content_setting("pool", number.pool, identity)
    yield compared
    num_rows = None if subset is None else subset.summary["num_rows"]
    yield Setting("pool_rows", _known(number.pool_rows), _known(num_rows))
    theirs = (number.pool_sample, number.pool_limit)
    mine = (pool.sample, pool.limit)
    if theirs != (None, None):
        yield Setting("pool.sample", _plain(theirs[0]), _plain(mine[0]))
        yield Setting("pool.limit", theirs[1], mine[1])
    elif mine != (None, None) and not compared.differs and number.pool_rows == num_rows:
        yield Setting("pool", UNKNOWN, "", f"which {num_rows:,} of its rows")


def _content_setting(name: str, theirs: str | None, identity: Any) -> Setting:
    """By content or by full hub id, whichever the published number gives."""
    ours = _content(identity)
    if theirs is None:
        return Setting(name, UNKNOWN, ours or UNKNOWN)
    if not CONTENT.fullmatch(theirs) and not HUB_ID.fullmatch(theirs):
        return Setting(name, UNKNOWN, ours or UNKNOWN, f"'{theirs}' is neither a hub id nor sha256:...")
    if ours is None or _is_content(theirs) != _is_content(ours):
        what = "not known by content" if ours is None else f"here {ours[:18]}" if _is_content(ours) else f"here {ours}"
        return Setting(name, theirs, UNKNOWN, f"{what}; whether that is {theirs[:60]} is not known")
    same = theirs.casefold() == ours.casefold()
    return Setting(name, theirs, theirs if same else ours)


def _content(identity: Any) -> str | None:
    """Hub id or `sha256:`, of the identity of a location."""
    if not isinstance(identity, Mapping):
        return None
    return identity["hub"] if "hub" in identity else f"sha256:{identity['sha256']}" if "sha256" in identity else None


def _is_content(text: str | None) -> bool:
    return text is not None and text.startswith("sha256:")


def _evaluated(ours: Ours) -> Any:
    """Identity of the model that was evaluated: the base that was trained, or the model as it is."""
    artifact = ours.results[0].artifact
    assert artifact is not None, "only rows with a number are compared"
    return artifact.manifest["identity"]["config"]["model"]["path"]


def _ratio(ours: Ours) -> Any:
    select = strategy_of(ours.config)
    if select.takes_all:
        return 1.0
    if (ratio := getattr(select, "ratio", None)) is not None:
        return ratio
    if ours.subset is None:
        return UNKNOWN
    return round(ours.subset.summary["num_selected"] / ours.subset.summary["num_rows"], 4)


def _raters(theirs: tuple[str, ...] | None, ours: tuple[Any, ...]) -> Setting:
    if theirs is not None and len(theirs) == len(ours) == 1:
        return _content_setting("raters", theirs[0], ours[0])
    contents = [_content(one) for one in ours]
    known = sorted(one for one in contents if one is not None)
    return Setting(
        "raters", _known(None if theirs is None else sorted(theirs)), known if None not in contents else UNKNOWN
    )


def _rating_prompts(theirs: str | None, location: str) -> Setting:
    ours = "default"
    if location != "default":
        digest = Hasher().file(Path(location))
        ours = "authors" if digest == SOURCES["rating_prompt.txt"].sha256 else f"sha256:{digest}"
        if theirs == f"sha256:{digest}":
            ours = theirs
    return Setting("rating_prompts", _known(theirs), ours)


def _epochs(config: ArmConfig) -> Any:
    """Passes over the subset, or what training was limited by instead."""
    finetune = config.finetune
    if finetune.budget == "tokens":
        return f"budget of {finetune.budget_tokens:,} tokens"
    return finetune.num_train_epochs if finetune.max_steps is None else f"limited to {finetune.max_steps} steps"
