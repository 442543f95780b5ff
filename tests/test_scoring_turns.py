"""Conversations are rated at the answer that is asked for, and in the rater's chat format where that is asked for."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import scoring_oracle
from rich.console import Console

from selectit.config import ModelConfig, PoolConfig, ScoreStage, SelectStage
from selectit.errors import UserError
from selectit.inference.load import load_model, load_tokenizer
from selectit.scoring import stage
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.ledger import read_ratings
from selectit.scoring.prompts import rating_text
from selectit.scoring.rated_rows import TURN
from selectit.scoring.texts import rating_texts
from selectit.scoring.verify import verify
from selectit.selection.stage import run as select
from selectit.selection.strategies.selectit import SelectITSelect
from selectit.store.fingerprint import Hasher, identity
from selectit.tracking import Tracker

QUIET = Console(quiet=True)
PROMPTS = ("Rate it.\n\n", "Weigh it well.\n\n")
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def said(role, content, **more):
    return {"role": role, "content": content, **more}


ROWS = [
    [said("user", "Add 2 and 3."), said("assistant", "5")],
    [said("system", "Be brief."), said("user", "Hi."), said("assistant", "Hello."), said("user", "And now?"),
     said("assistant", "Nothing more, it is done.")],
    [said("assistant", "Welcome! I am a helper."), said("user", "What is 4+1?"), said("assistant", "5."),
     said("user", "And 4+2?"), said("assistant", "WRONG", train=False), said("user", "Again."),
     said("assistant", "6, I am sorry."), said("user", "Thanks."), said("assistant", "  ")],
    [said("user", "Name a colour."), said("assistant", "Green is one of them.")],
]  # fmt: skip
PAIRS = [
    [("Add 2 and 3.", "5")],
    [("Be brief.\nHi.", "Hello."), ("Be brief.\nHi.\nHello.\nAnd now?", "Nothing more, it is done.")],
    [
        ("What is 4+1?", "5."),
        ("What is 4+1?\n5.\nAnd 4+2?\nWRONG\nAgain.", "6, I am sorry."),
    ],
    [("Name a colour.", "Green is one of them.")],
]
"""Written by hand: every answer that is trained on and has words, and what stands in front of it."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    path = tmp_path_factory.mktemp("turns") / "pool.json"
    path.write_text(json.dumps([{"messages": row} for row in ROWS]))
    return PoolConfig(path=str(path))


@pytest.fixture(scope="module")
def chat_model(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(demo / "model", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return ModelConfig(path=str(folder))


def rate(config, out):
    out.mkdir()
    stage.run(config, {}, out, Tracker(out, QUIET))
    return out, json.loads((out / "score.json").read_text())


def one_by_one(model, texts, ids, special=True):
    tokenizer, loaded = load_tokenizer(model), load_model(model)

    def plain(text):
        return {"input_ids": tokenizer(text, add_special_tokens=special)["input_ids"]}

    return scoring_oracle.rating_probabilities(loaded, plain, ids, texts)


@pytest.mark.parametrize("turns", ["first", "last", "mean"])
def test_a_conversation_is_rated_at_the_answer_that_is_asked_for(pool, demo, turns, tmp_path):
    model = ModelConfig(path=str(demo / "model"))
    config = ScoreStage(pool=pool, model=model, prompts=PROMPTS, turns=turns)
    folder, reported = rate(config, tmp_path / "score")
    wanted = {"first": [p[:1] for p in PAIRS], "last": [p[-1:] for p in PAIRS], "mean": PAIRS}[turns]
    assert (reported["num_rows"], reported["num_answers"], reported["turns"]) == (4, sum(map(len, wanted)), turns)

    ids = list(reported["rating_token_ids"].values())
    expected = []
    for pairs in wanted:
        texts = [rating_text(prompt, *pair) for pair in pairs for prompt in PROMPTS]
        found = one_by_one(model, texts, ids).reshape(len(pairs), len(PROMPTS), 5)
        expected.append(token_scores(found, "corrected").mean(axis=0))
    out = tmp_path / "select"
    out.mkdir()
    chosen = SelectITSelect(strategy="selectit", ratio=0.5)
    selecting = SelectStage(pool=pool, select=chosen, prompts=PROMPTS, theta=(None,))
    select(selecting, {"score0": folder}, out, Tracker(out, QUIET))
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    scores = sentence_scores(np.array(expected), chosen.alpha)
    np.testing.assert_allclose([line["score"] for line in lines], scores, atol=1e-5)
    assert [line["selected"] for line in lines] == [bool(s >= np.sort(scores)[2]) for s in scores]
    found = verify(config, folder, 10, "corrected", Tracker(folder, QUIET))
    assert found["num_rows"] == sum(map(len, wanted)) and found["max_probability_difference"] < 1e-5


def test_a_row_that_lacks_the_score_of_one_answer_has_none(pool, demo, tmp_path):
    model = ModelConfig(path=str(demo / "model"))
    tokenizer = load_tokenizer(model)
    [longest] = [max(len(tokenizer(rating_text(PROMPTS[1], *pair))["input_ids"]) for pair in PAIRS[1])]
    config = ScoreStage(
        pool=pool, model=model, prompts=PROMPTS, turns="mean", max_length=longest - 1, long_rows="skip"
    )  # fmt: skip
    folder, reported = rate(config, tmp_path / "score")
    out = tmp_path / "select"
    out.mkdir()
    selecting = SelectStage(
        pool=pool, select=SelectITSelect(strategy="selectit", ratio=0.5), prompts=PROMPTS, theta=(None,)
    )  # fmt: skip
    select(selecting, {"score0": folder}, out, Tracker(out, QUIET))
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    failed = [line["failure"] for line in lines]
    assert failed[1] == "too_long" and failed[0] is None and failed[3] is None
    assert not lines[1]["selected"] and lines[1]["score"] is None and reported["failures"]["too_long"] >= 1


def test_the_history_of_an_alpaca_row_is_not_an_answer_of_its_own(demo, tmp_path):
    path = tmp_path / "pool.json"
    row = {"instruction": "And 3?", "input": "", "output": "It is 3.", "history": [["What is 2?", "It is 2."]]}
    path.write_text(json.dumps([row]))
    config = ScoreStage(
        pool=PoolConfig(path=str(path)), model=ModelConfig(path=str(demo / "model")), prompts=PROMPTS, turns="mean"
    )  # fmt: skip
    _, reported = rate(config, tmp_path / "out")
    assert reported["num_answers"] == 1


def test_turns_and_template_are_in_the_fingerprint_and_answers_of_one_row_stand_behind_it(pool, chat_model, tmp_path):
    config = ScoreStage(pool=pool, model=chat_model, prompts=PROMPTS)
    made = [identity(config.model_copy(update=u), Hasher()) for u in ({}, {"turns": "mean"}, {"template": "chat"})]
    assert len({json.dumps(one, sort_keys=True) for one in made}) == 3
    folder, _ = rate(config.model_copy(update={"turns": "mean"}), tmp_path / "out")
    import pyarrow.parquet as parquet

    ids = parquet.read_table(folder / "ledger.parquet")["row_id"].to_pylist()
    assert [name.partition(TURN)[2] for name in ids] == ["", "", "2", "", "2", ""] * 2


@pytest.mark.parametrize("max_length", [None, 60])
def test_a_chat_model_is_rated_in_its_chat_format(pool, chat_model, max_length, tmp_path):
    config = ScoreStage(pool=pool, model=chat_model, prompts=PROMPTS, template="chat", max_length=max_length)
    folder, reported = rate(config, tmp_path / "score")
    assert reported["template"] == "chat"
    tokenizer = load_tokenizer(chat_model)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": rating_text(prompt, *pairs[0]).removesuffix("\nThe answer is: \n")}],
            tokenize=False, add_generation_prompt=True,
        ) + "The answer is: \n"
        for pairs in PAIRS for prompt in PROMPTS
    ]  # fmt: skip
    assert texts[0] == "<s>user\nRate it.\n\nInstruction:Add 2 and 3.\nResponse:5</s>\n<s>assistant\nThe answer is: \n"
    lengths = np.array([len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts])
    expected = one_by_one(chat_model, texts, list(reported["rating_token_ids"].values()), special=False)
    import selectit.data.pool

    row_ids = [row.row_id for row in selectit.data.pool.iter_pool(pool)]
    found = read_ratings(folder / "ledger.parquet", row_ids, range(2)).probabilities.reshape(-1, 5)
    short = lengths <= (max_length or 10**6)
    assert short.any() and reported["num_truncated"] == (~short).sum()
    np.testing.assert_allclose(found[short], expected[short], atol=1e-5)


def test_control_tokens_in_a_row_are_plain_text_in_chat_format_too(chat_model, pool):
    from selectit.data.pool import read_pool

    tokenizer = load_tokenizer(chat_model)
    row = read_pool(pool)[0]
    odd = type(row)(0, "x", "Say </s> twice.", "</s></s>", (), {})
    [text] = rating_texts(tokenizer, [[odd]], 0, PROMPTS[0], template="chat")
    assert list(text.ids).count(tokenizer.convert_tokens_to_ids("</s>")) == 1  # the template's own


def test_a_tokenizer_without_a_chat_template_is_refused_before_anything_is_rated(pool, demo):
    config = ScoreStage(pool=pool, model=ModelConfig(path=str(demo / "model")), prompts=PROMPTS, template="chat")
    with pytest.raises(UserError, match=r"score\.template is chat.*chat template"):
        stage.preflight(config)


def test_a_rater_without_a_chat_template_is_refused_with_the_settings_of_rating(pool, demo):
    model = ModelConfig(path=str(demo / "model"))
    config = ScoreStage(pool=pool, model=model, prompts=PROMPTS, template="chat")
    with pytest.raises(UserError, match=r"has no chat template; set score\.template to plain") as refused:
        stage.preflight(config)
    assert "finetune" not in str(refused.value)
