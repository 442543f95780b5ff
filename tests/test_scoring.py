from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import scoring_oracle
from rich.console import Console
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from selectit.config import ModelConfig, PoolConfig, ScoreStage, SelectStage
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.inference.batch import CPU_BATCH_TOKENS
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.loaded import FittingRater
from selectit.scoring import stage
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.ledger import read_ratings
from selectit.scoring.prompts import SUFFIX, rating_text, read_rating_prompts
from selectit.scoring.ratings import rating_token_ids
from selectit.scoring.texts import rating_texts
from selectit.selection.stage import run as select
from selectit.selection.strategies.selectit import SelectITSelect
from selectit.tracking import Tracker

QUIET = Console(quiet=True)


def score(config: ScoreStage, out: Path) -> Path:
    out.mkdir(exist_ok=True)
    stage.run(config, {}, out, Tracker(out, QUIET))
    return out


@pytest.fixture(scope="module")
def config(demo, tmp_path_factory) -> ScoreStage:
    pool = tmp_path_factory.mktemp("scoring") / "pool.json"
    pool.write_text(json.dumps(json.loads((demo / "pool.json").read_text())[:40]))
    return ScoreStage(
        pool=PoolConfig(path=str(pool)),
        model=ModelConfig(path=str(demo / "model")),
        prompts=read_rating_prompts("default", "corrected")[:3],
    )


def oracle(config: ScoreStage) -> np.ndarray:
    tokenizer, model = load_tokenizer(config.model), load_model(config.model)
    rows = read_pool(config.pool)
    ids = rating_token_ids(tokenizer, [rating_text(config.prompts[0], rows[0].instruction, rows[0].response)])
    texts = [rating_text(p, row.instruction, row.response) for row in rows for p in config.prompts]
    return scoring_oracle.rating_probabilities(model, tokenizer, ids, texts).reshape(len(rows), len(config.prompts), 5)


@pytest.fixture(scope="module")
def expected(config) -> np.ndarray:
    return oracle(config)


def ratings(out: Path, config: ScoreStage) -> np.ndarray:
    ids = [row.row_id for row in read_pool(config.pool)]
    return read_ratings(out / "ledger.parquet", ids, range(len(config.prompts))).probabilities


@pytest.mark.parametrize("batch_tokens", [1, 700, 20000])
def test_batched_probabilities_equal_one_row_at_a_time(config, expected, tmp_path, batch_tokens):
    config = config.model_copy(update={"batch_tokens": batch_tokens})
    np.testing.assert_allclose(ratings(score(config, tmp_path / "out"), config), expected, atol=1e-5)


@pytest.mark.parametrize("fidelity", ["paper", "released_code", "corrected"])
def test_scores_order_and_subset_equal_the_oracle_on_real_rows(shared, tmp_path, fidelity):
    rows = json.loads((shared / "alpaca" / "alpaca_en_demo.json").read_text())
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps(random.Random(1).sample(rows, 24)))
    prompts = read_rating_prompts(str(shared / "selectit" / "rating_prompt.txt"), fidelity)[:5]
    model = ModelConfig(path=str(shared / "models" / "stories260K"))
    config = ScoreStage(pool=PoolConfig(path=str(pool)), model=model, prompts=prompts, num_processes=2)
    folder = score(config, tmp_path / "score")

    strategy = SelectITSelect(strategy="selectit", ratio=0.25, fidelity=fidelity)
    out = tmp_path / "select"
    out.mkdir()
    selecting = SelectStage(pool=config.pool, select=strategy, prompts=prompts, theta=(None,))
    select(selecting, {"score0": folder}, out, Tracker(out, QUIET))
    ours = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]

    expected = sentence_scores(token_scores(oracle(config), fidelity, 5), strategy.alpha)
    np.testing.assert_allclose([line["score"] for line in ours], expected, atol=1e-5)
    order = sorted(range(24), key=lambda i: (expected[i], i), reverse=True)
    assert [line["rank"] for line in ours] == [order.index(i) + 1 for i in range(24)]
    assert [line["row"] for line in ours if line["selected"]] == sorted(order[:6])
    assert [row.raw for row in read_pool(PoolConfig(path=str(out / "subset.json")))] == [
        json.loads(pool.read_text())[i] for i in sorted(order[:6])
    ]


def test_rating_text_is_the_released_codes_byte_for_byte(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("First.\nLast.")
    assert read_rating_prompts(str(file), "released_code") == ("First.\n\n", "Last.\n")
    assert read_rating_prompts(str(file), "corrected") == ("First.\n\n", "Last.\n\n")
    expected = "First.\n\nInstruction:Do it.\nwith this\nResponse:Done.\nThe answer is: \n"
    assert rating_text("First.\n\n", "Do it.\nwith this", "Done.") == expected


def test_a_blank_rating_prompt_and_an_empty_file_are_refused(tmp_path):
    file = tmp_path / "prompts.txt"
    for text, message in (("a\n\nb\n", "line 2: blank"), ("", "empty")):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_rating_prompts(str(file), "corrected")


def test_rating_ids_of_the_llama_tokenizers_are_the_known_ones(shared, tmp_path):
    text = rating_text("Rate.\n\n", "Say hi.", "Hi.")
    stories = load_tokenizer(ModelConfig(path=str(shared / "models" / "stories260K")))
    assert rating_token_ids(stories, [text]) == [475, 479, 472, 484, 480]
    llama = tmp_path / "llama"
    llama.mkdir()
    (llama / "tokenizer.model").write_bytes((shared / "tokenizer" / "tokenizer.model").read_bytes())
    (llama / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true}')
    (llama / "config.json").write_text('{"model_type": "llama"}')
    assert rating_token_ids(load_tokenizer(ModelConfig(path=str(llama))), [text]) == [29896, 29906, 29941, 29946, 29945]


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", name_or_path="made-up")


def test_a_tokenizer_that_does_not_know_the_ratings_is_refused_by_name():
    with pytest.raises(UserError, match="made-up does not tell the ratings"):
        rating_token_ids(word_tokenizer(["a", "1"]), ["a\n"])


def test_a_tokenizer_that_joins_the_rating_to_the_prompt_is_refused():
    joins = word_tokenizer(["a"])
    with pytest.raises(UserError, match="'1' as one token"):
        rating_token_ids(joins, ["x"])  # "x" and "x1" are one unknown word each: no token is added


def test_a_long_response_loses_its_end_and_keeps_the_question(config):
    tokenizer = load_tokenizer(config.model)
    rows = [[row] for row in read_pool(config.pool)]
    texts = [text for n, prompt in enumerate(config.prompts) for text in rating_texts(tokenizer, rows, n, prompt, 64)]
    cut = [t for t in texts if t.truncated]
    assert cut and all(len(t.ids) == 64 for t in cut) and all(len(t.ids) <= 64 for t in texts)
    assert all(tokenizer.decode(t.ids).endswith(SUFFIX) for t in cut)


def test_a_killed_scoring_resumes_and_scores_nothing_twice(config, tmp_path, monkeypatch):
    whole = ratings(score(config, tmp_path / "whole"), config)
    seen: list[tuple[str, int]] = []
    real = FittingRater.read
    config = config.model_copy(update={"batch_tokens": 600})
    monkeypatch.setattr("selectit.scoring.ledger.FLUSH_SECONDS", 0)

    def counted(self, batch):
        if len(seen) > 50 and not counted.resumed:
            raise KeyboardInterrupt
        seen.extend(key for text in batch.items for key in text.keys)
        return real(self, batch)

    counted.resumed = False
    monkeypatch.setattr(FittingRater, "read", counted)
    with pytest.raises(KeyboardInterrupt):
        score(config, tmp_path / "killed")
    counted.resumed = True
    out = score(config, tmp_path / "killed")
    assert len(seen) == len(set(seen)) == whole.shape[0] * whole.shape[1]
    np.testing.assert_allclose(ratings(out, config), whole, atol=1e-5)
    assert not (out / "ledger").exists()


def test_every_pair_of_row_and_prompt_is_in_the_ledger_once(config, tmp_path):
    table = parquet.read_table(score(config, tmp_path / "out") / "ledger.parquet").to_pylist()
    pairs = [(r["row_id"], r["prompt"]) for r in table]
    assert len(pairs) == len(set(pairs)) == 40 * 3
    assert all(abs(sum(r["probabilities"]) - r["mass"]) < 1e-12 and 0 < r["mass"] <= 1 for r in table)


def test_rows_of_equal_text_are_rated_once_and_tie(config, tmp_path, monkeypatch):
    rows = json.loads(Path(config.pool.path).read_text())[:6]
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps([*rows, *rows[::-1], rows[0]]))
    config = config.model_copy(update={"pool": PoolConfig(path=str(pool)), "batch_tokens": 150})
    rated: list[int] = []
    real = FittingRater.read
    monkeypatch.setattr(FittingRater, "read", lambda self, batch: rated.append(len(batch.items)) or real(self, batch))
    found = ratings(score(config, tmp_path / "out"), config)
    assert sum(rated) == 6 * len(config.prompts)
    np.testing.assert_allclose(found, oracle(config), atol=1e-5)
    assert (found == found[[*range(6), *range(5, -1, -1), 0]]).all()


def test_the_ledger_states_how_it_was_made(config, tmp_path):
    reported = json.loads((score(config, tmp_path / "out") / "score.json").read_text())
    assert (reported["rater"], reported["num_processes"], reported["batch_tokens"]) == ("packed", 1, CPU_BATCH_TOKENS)
    assert reported["tokens_per_second"] > 0


def test_a_model_without_tokenizer_is_refused(demo, tmp_path):
    (tmp_path / "config.json").write_text((demo / "model" / "config.json").read_text())
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer(ModelConfig(path=str(tmp_path)))
