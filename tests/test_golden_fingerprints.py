"""Fingerprints of finished work outlive a new version of this project: one stored value for each kind of stage.

A field that is added to any class of a configuration leaves them as they are while it stands at its default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import create_model

from selectit.config import (
    Config,
    FinetuneStage,
    GrownConfig,
    Location,
    LossStage,
    ModelConfig,
    ScoreStage,
    SelectStage,
    execution,
)
from selectit.evaluate.benchmarks import task_config
from selectit.evaluate.stage_config import EvaluateStage, GradeStage
from selectit.plan.graph import CONFIG_OF
from selectit.plan.status import _why
from selectit.selection.registry import Strategies, shipped
from selectit.selection.strategies.random import RandomSelect
from selectit.store import first_fields
from selectit.store.fingerprint import Hasher, at, digest, identity, later_fields, leaves, with_later_defaults
from selectit.store.kinds import KINDS

GOLDEN = Path(__file__).parent / "golden" / "fingerprints.json"
POOL = {"path": "pool.json", "sample": {"num_rows": 2, "seed": 3}, "bad_rows": "exclude"}
MODEL = {"path": "model", "dtype": "bfloat16"}
SCORE = {"pool": POOL, "model": MODEL, "prompts": ["Rate it.\n", "Judge it.\n"], "max_length": 512, "turns": "mean"}
LOSSES = {"pool": POOL, "model": MODEL, "text": "marker", "template": "alpaca", "quantization": "8bit"}
FINETUNE = {
    "model": MODEL,
    "seed": 5,
    "finetune": {
        "method": "lora", "learning_rate": 1e-4, "num_train_epochs": 2, "template": "llmzoo",
        "validation": {"num_rows": 4}, "early_stopping": {"patience": 2},
        "replay": {"path": "pool.json", "share": 0.25},
    },
}  # fmt: skip
EVALUATE = {
    "model": MODEL,
    "benchmark": {"name": "gsm8k", "num_fewshot": 4, "max_gen_toks": 64, "metric": "exact_match"},
    "data": "benchmarks",
    "limit": 8,
    "judge": {"model": "judge", "base_url": "http://localhost:1/v1"},
}
SELECTS = {
    "full": {},
    "random": {"ratio": 0.5},
    "random_rest": {"rest_of": "other"},
    "length": {"unit": "words"},
    "random_matched": {"match": "other", "num_bins": 5},
    "selectit": {"level": "token", "fidelity": "paper"},
    "perplexity": {"order": "mid"},
    "ifd": {"form": "perplexity_ratio"},
    "scores": {"path": "answers.jsonl", "order": "low"},
    "subset": {"path": "pool.json"},
    "length_ratio": {"order": "low", "unit": "chars"},
    "entropy": {"keep": "middle", "template": "llmzoo"},
    "zip": {"num_kept": 150, "fidelity": "released_code"},
    "mix": {"mix": [{"strategy": "length", "unit": "words", "weight": 2}, {"strategy": "ifd", "normalise": "zscore"}]},
    "cosine_filter": {"path": "answers.jsonl", "threshold": 0.8},
    "k_center": {"path": "answers.jsonl", "num_start": 3},
    "facility_location": {"path": "answers.jsonl"},
    "kmeans_quota": {"path": "answers.jsonl", "num_clusters": 9},
}

STAGES = {
    "score": (ScoreStage, SCORE),
    "losses": (LossStage, LOSSES),
    **{
        f"select length, {method}": (
            SelectStage,
            {"pool": POOL, "select": {"strategy": "length", "diversify": {"method": method, "path": "answers.jsonl"}}},
        )
        for method in ("cosine_filter", "k_center", "facility_location", "kmeans_quota")
    },
    **{
        f"select {name}": (SelectStage, {"pool": POOL, "seed": 7, "select": {"strategy": name, **settings}})
        for name, settings in SELECTS.items()
    },
    "finetune-lora": (FinetuneStage, FINETUNE),
    "finetune-full": (FinetuneStage, {**FINETUNE, "keep_epochs": True, "finetune": {"method": "full"}}),
    "evaluate": (EvaluateStage, EVALUATE),
    "evaluate task": (
        EvaluateStage,
        {
            "model": MODEL,
            "benchmark": {"name": "mine", "task": "sums", "include_path": "tasks", "metric": "acc,none", "scale": 2},
        },
    ),
    "grade": (
        GradeStage,
        {"benchmark": EVALUATE["benchmark"], "data": "benchmarks", "answers": "answers.jsonl", "grader": "gsm8k-1"},
    ),
}


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Small files at the paths of the configurations."""
    files = {
        "pool.json": "[]", "answers.jsonl": "{}\n", "model/config.json": "{}", "model/model.safetensors": "weights",
        "benchmarks/gsm8k/test.jsonl": "{}\n", "benchmarks/gsm8k/train.jsonl": "{}\n",
        "tasks/sums.yaml": "task: sums\n",
    }  # fmt: skip
    monkeypatch.setattr(task_config, "version", lambda name: "0.4.13")  # of lm-eval, which is part of a task's
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def config_of(name: str) -> Config:
    schema, settings = STAGES[name]
    return schema.model_validate_json(json.dumps(settings), context=shipped().context)


def fingerprint(name: str, config: Config) -> str:
    kind = KINDS[name.split(" ")[0]]
    return digest({"kind": kind.name, "version": kind.version, "config": identity(config, Hasher()), "inputs": {}})


@pytest.mark.parametrize("name", STAGES)
def test_the_fingerprint_of_a_stage_is_that_of_finished_work(name, inputs):
    assert fingerprint(name, config_of(name)) == json.loads(GOLDEN.read_text())[name], (
        "finished work of this kind would be done again. Where the same configuration now gives another result, raise "
        "the version of the kind and store the new value; otherwise mend the identity"
    )


class Added(Config):
    """A section that is added, in a field of its own."""

    form: str = "plain"
    threads: int = execution(2)


ADDED = {
    "number": (int, 3, 4),
    "switch": (bool, False, True),
    "words": (tuple[str, ...], (), ("one",)),
    "file": (Location | None, None, "answers.jsonl"),
    "section": (Added, Added(threads=7), Added(form="other")),
    "no_section": (Added | None, None, Added()),
}
"""Type, default and another value of a field that did not exist when the stored fingerprints were computed."""


def places(config: Config, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each configuration in a configuration, its own too."""
    yield prefix
    for name in type(config).model_fields:
        if isinstance(nested := getattr(config, name), Config):
            yield from places(nested, (*prefix, name))


def with_field(config: Config, place: tuple[str, ...], kind: Any, default: Any, value: Any) -> Config:
    """The same configuration, after a field was added to the class of one of its parts."""
    if place:
        inner = with_field(getattr(config, place[0]), place[1:], kind, default, value)
        return config.model_copy(update={place[0]: inner})
    grown = create_model(type(config).__name__, __base__=type(config), added=(kind, default))
    if isinstance(config, GrownConfig) and type(config).__name__ not in first_fields.FIRST_FIELDS:
        # as whoever adds a field writes it into the class of a strategy
        at_default = at(identity(grown.model_construct(**dict(config), added=default), Hasher()), "added")
        grown.later_defaults = {**config.later_defaults, "added": at_default}
        later_fields.cache_clear()
    return grown.model_construct(**dict(config), added=value)


@pytest.mark.parametrize(("name", "place"), [(n, p) for n in STAGES for p in places(config_of(n))])
def test_a_field_that_is_added_keeps_finished_work_unless_it_is_set(name, place, inputs):
    stored = json.loads(GOLDEN.read_text())[name]
    for kind, default, other in list(ADDED.values())[: 1 if place else None]:  # every type once for a stage
        at_default, set_otherwise = (with_field(config_of(name), place, kind, default, v) for v in (default, other))
        assert fingerprint(name, at_default) == stored
        assert fingerprint(name, set_otherwise) != stored


def test_these_configurations_hold_every_class_whose_fields_are_hashed():
    held = {type(at_place(config_of(n), place)).__name__ for n in STAGES for place in places(config_of(n))}
    in_place_of_a_split, null_by_default = {"ValidationFile"}, {"ColumnsConfig", "RolesConfig"}
    in_a_list = {"MixPart"}
    assert schemas_of_stages().keys() - held == in_place_of_a_split | null_by_default | in_a_list
    assert first_fields.FIRST_FIELDS.keys() <= schemas_of_stages().keys(), "a class was renamed: finished work is lost"


def at_place(config: Any, place: tuple[str, ...]) -> Any:
    return at_place(getattr(config, place[0]), place[1:]) if place else config


def schemas_of_stages() -> dict[str, type[Config]]:
    found: dict[str, type[Config]] = {}
    to_do: list[type[Config]] = [*CONFIG_OF.values()]
    while to_do:
        schema = to_do.pop()
        if found.get(schema.__name__) is schema:
            continue  # a section may hold sections of its own kind
        found[schema.__name__] = schema
        to_do += [one for info in schema.model_fields.values() for one in shipped().forms(info)]
    return found


def test_a_section_that_is_not_known_is_left_out_field_by_field(inputs):
    class Unknown(Config):
        method: Literal["new"]
        size: int = 3

    assert identity(Unknown(method="new"), Hasher()) == {"method": "new"}
    assert identity(Unknown(method="new", size=4), Hasher()) == {"method": "new", "size": 4}


def test_a_default_that_names_content_is_part_of_the_fingerprint(inputs):
    class Reads(Config):
        file: Location = "answers.jsonl"
        model: ModelConfig = ModelConfig(path="model")

    before = identity(Reads(), Hasher())
    assert set(before) == {"file", "model"}
    Path("model/config.json").write_text('{"other": 1}')
    assert identity(Reads(), Hasher()) != before


def test_the_default_of_every_field_that_was_added_is_recorded():
    missing = [
        f"{name}.{field}"
        for name, schema in schemas_of_stages().items()
        for field in later_fields(schema)
        if field not in (first_fields.LATER_DEFAULTS.get(name) or getattr(schema, "later_defaults", {}))
    ]
    assert missing == [], "add their defaults to LATER_DEFAULTS in selectit/store/first_fields.py, where they stay"


def test_what_is_recorded_of_added_fields_names_fields():
    schemas = schemas_of_stages()
    for name, fields in first_fields.LATER_DEFAULTS.items():
        assert set(fields) <= set(later_fields(schemas[name])), name


def test_a_default_that_changes_later_is_another_fingerprint(inputs, monkeypatch):
    class Grown(Config):
        size: int = 5

    monkeypatch.setitem(first_fields.LATER_DEFAULTS, "Grown", {"size": 3})
    assert identity(Grown(size=3), Hasher()) == {}  # finished work was done with 3
    assert identity(Grown(), Hasher()) == {"size": 5}
    assert with_later_defaults({}, Grown, shipped().forms) == {"size": 3}


def test_a_field_that_is_left_out_is_shown_at_its_default(inputs):
    strategies = Strategies(
        {**shipped(), "random": create_model("RandomSelect", __base__=RandomSelect, added=(int, 3))}, {}
    )
    old, settings = identity(config_of("select random"), Hasher()), STAGES["select random"][1]
    changed = {**settings, "select": {**settings["select"], "added": 4}}
    new = identity(SelectStage.model_validate(changed, context=strategies.context), Hasher())

    class Store:
        def identities(self, kind):
            return [(leaves(old), {"kind": kind, "version": 1, "config": old, "inputs": {}})]

    assert (
        _why({"kind": "select", "version": 1, "config": new, "inputs": {}}, SelectStage, Store(), strategies)
        == "new: select.added 3 -> 4"
    )
    assert (at(old, "select.added"), at(new, "select.added")) == (None, 4)
