"""The losses stage gives the losses of plain transformers, one row at a time in float32, however it is run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from killed_reading import read_after_a_kill
from rich.console import Console
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from selectit.config import FinetuneConfig, LossStage, ModelConfig, PoolConfig
from selectit.data.conversations import as_conversation
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.finetune.dataset import IGNORED_LABEL, tokenize
from selectit.inference.batch import Batch, LossText, batches, common_prefix
from selectit.inference.load import load_model, load_tokenizer
from selectit.inference.loaded import FittingRater
from selectit.inference.padded import PaddedRater
from selectit.inference.token_rater import PaddedTokenRater, entropy, head_alone, loss, make_token_rater
from selectit.scoring import loss_stage
from selectit.scoring.loss_ledger import read_losses
from selectit.scoring.loss_texts import loss_texts
from selectit.scoring.loss_verify import verify_losses
from selectit.templates.form import load_form
from selectit.tracking import Tracker

TEXTS = ("conditioned", "marker", "bare")
MARKER = {"alpaca": "### Response:\n", "llmzoo": "Assistant: "}


def take(config: LossStage, out: Path) -> Path:
    out.mkdir(exist_ok=True)
    loss_stage.run(config, {}, out, Tracker(out, Console(quiet=True)))
    return out


def found(config: LossStage, out: Path):
    return read_losses(take(config, out) / "ledger.parquet", [row.row_id for row in read_pool(config.pool)])


def trained_rows(config: LossStage):
    """What fine-tuning would train on: token ids and labels of every row, from its own code."""
    conversations = [as_conversation(row.row_id, row.messages, config.template) for row in read_pool(config.pool)]
    settings = {"template": config.template, "max_length": config.max_length or 10**6, "max_truncated_share": 1.0}
    return tokenize(
        conversations, load_form(config.template, load_tokenizer(config.model)), FinetuneConfig(**settings)
    ).rows


@torch.no_grad()
def oracle(config: LossStage) -> np.ndarray:
    """transformers' own loss of each row alone, on the labels of training: [num_rows, (response, full)]."""
    model, tokenizer = load_model(config.model), load_tokenizer(config.model)
    losses = []
    for row in trained_rows(config):
        ids, labels = row.input_ids.tolist(), row.labels.tolist()
        if config.text != "conditioned":
            response = [token for token in labels if token != IGNORED_LABEL]
            marker = MARKER[config.template] if config.text == "marker" else ""
            opening = [tokenizer.bos_token_id, *tokenizer(marker, add_special_tokens=False)["input_ids"]]
            ids, labels = opening + response, [IGNORED_LABEL] * len(opening) + response
        both = [model(torch.tensor([ids]), labels=torch.tensor([wanted])).loss for wanted in (labels, ids)]
        losses.append([float(loss) for loss in both])
    return np.array(losses)


def pool_of(rows: list[dict], folder: Path) -> PoolConfig:
    path = folder / "pool.json"
    path.write_text(json.dumps(rows))
    return PoolConfig(path=str(path))


@pytest.fixture(scope="module")
def config(demo, tmp_path_factory) -> LossStage:
    pool = pool_of(json.loads((demo / "pool.json").read_text())[:40], tmp_path_factory.mktemp("losses"))
    return LossStage(pool=pool, model=ModelConfig(path=str(demo / "model")), text="conditioned", template="alpaca")


@pytest.fixture(scope="module")
def real_config(shared, tmp_path_factory) -> LossStage:
    rows = json.loads((shared / "alpaca" / "alpaca_en_demo.json").read_text())
    pool = pool_of(random.Random(1).sample(rows, 12), tmp_path_factory.mktemp("real_losses"))
    model = ModelConfig(path=str(shared / "models" / "stories260K"))
    return LossStage(pool=pool, model=model, text="conditioned", template="alpaca", num_processes=2)


@pytest.mark.parametrize(
    ("text", "template"),
    [("conditioned", "alpaca"), ("conditioned", "llmzoo"), ("marker", "llmzoo"), ("bare", "alpaca")],
)
def test_losses_of_real_rows_are_the_training_losses_of_each_row_alone(real_config, tmp_path, text, template):
    config = real_config.model_copy(update={"text": text, "template": template})
    losses = found(config, tmp_path / "out")
    np.testing.assert_allclose(np.stack([losses.response, losses.full], axis=1), oracle(config), atol=1e-5)


def test_the_batch_and_the_processes_do_not_change_a_loss(config, tmp_path):
    expected = oracle(config)
    for number, changes in enumerate(({"batch_tokens": 1}, {"batch_tokens": 300}, {"num_processes": 2})):
        losses = found(config.model_copy(update=changes), tmp_path / str(number))
        np.testing.assert_allclose(np.stack([losses.response, losses.full], axis=1), expected, atol=1e-5)


def test_llama_tokens_and_a_large_vocabulary_in_pieces(shared, tmp_path, monkeypatch):
    monkeypatch.setattr("selectit.inference.token_rater.LOGITS_AT_ONCE", 32000 * 50)
    folder = tmp_path / "llama"
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=32000, initializer_range=0.3, **shape)).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes((shared / "tokenizer" / "tokenizer.model").read_bytes())
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "bos_token": "<s>", "eos_token": "</s>"}'
    )
    rows = json.loads((shared / "alpaca" / "alpaca_en_demo.json").read_text())[:8]
    model = ModelConfig(path=str(folder))
    load_tokenizer(model).save_pretrained(folder)  # as tokenizer.json, which loads at once
    config = LossStage(pool=pool_of(rows, tmp_path), model=model, text="conditioned", template="alpaca")
    losses = found(config, tmp_path / "out")
    np.testing.assert_allclose(losses.response, oracle(config)[:, 0], atol=1e-5)
    assert json.loads((tmp_path / "out" / "losses.json").read_text())["rater"] == "packed"


VOCABULARY = 97
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
MODELS = {
    "packed": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3)
    ),
    "capped logits": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0, sliding_window=16)
    ),
    "rope that grows": lambda: LlamaForCausalLM(
        LlamaConfig(**{**SMALL, "max_position_embeddings": 64, "rope_parameters": DYNAMIC})
    ),
}


def made_up_texts(lengths, prefix) -> list[LossText]:
    generator = np.random.default_rng(0)
    shared = generator.integers(1, VOCABULARY, prefix)
    texts = []
    for number, length in enumerate(lengths):
        ids = np.concatenate([shared, generator.integers(1, VOCABULARY, length)]).astype(np.int32)
        scored = generator.random(len(ids)) < 0.5
        scored[0] = False
        texts.append(LossText(((str(number), 0),), ids, scored=scored))
    return texts


@torch.no_grad()
def plain_sums(make, texts) -> np.ndarray:
    rows = []
    for text in texts:
        torch.manual_seed(0)
        ids = torch.tensor(text.ids[None].astype(np.int64))
        losses = torch.nn.functional.cross_entropy(make().eval()(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        rows.append([float(losses[torch.as_tensor(text.scored[1:])].double().sum()), float(losses.double().sum())])
    return np.array(rows)


@pytest.mark.parametrize("prefix", [0, 1, 2, 9])
@pytest.mark.parametrize("name", MODELS)
def test_every_path_gives_the_plain_losses_in_any_order_of_batches(name, prefix):
    torch.manual_seed(0)
    rater = make_token_rater(MODELS[name]().eval(), (loss,))
    assert rater.name == ("packed" if name == "packed" else "padded")
    texts = made_up_texts((1, 1, 2, 3, 40, 63, 64, 65, 90, 5, 40), prefix)
    texts = [text for text in texts if len(text.ids)]
    expected = dict(zip((text.keys[0][0] for text in texts), plain_sums(MODELS[name], texts), strict=True))
    shared = common_prefix(texts)
    assert len(shared) >= prefix
    todo = [*batches(texts, shared, 150, rater.pads), Batch(texts[:2]), Batch(texts[2:], shared)]
    random.Random(0).shuffle(todo)
    for batch in todo:
        wanted = np.stack([expected[text.keys[0][0]] for text in batch.items])
        np.testing.assert_allclose(rater.rate(batch), wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["packed", "capped logits"])
def test_one_pass_gives_all_the_quantities_that_are_asked_for(name):
    """Entropy as a second one: the loss is the same to the bit, and the entropy that of the logits."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    texts = made_up_texts((5, 17, 40), 9)
    alone, both = (make_token_rater(model, asked) for asked in ((loss,), (loss, entropy)))
    batch = Batch(texts, () if alone.pads else common_prefix(texts))
    found = both.rate(batch)
    assert (found[:, :2] == alone.rate(batch)).all() and found.shape == (3, 4)
    for text, (scored, whole) in zip(texts, found[:, 2:], strict=True):
        with torch.no_grad():
            logits = model(torch.tensor(text.ids[None].astype(np.int64))).logits[0, :-1].double()
        shares = logits.softmax(dim=-1)
        expected = -(shares * shares.log()).sum(dim=-1).numpy()
        np.testing.assert_allclose([scored, whole], [expected[text.scored[1:]].sum(), expected.sum()], rtol=1e-4)


def test_a_head_that_is_not_all_behind_the_hidden_states_is_noticed():
    assert head_alone(MODELS["learned positions"]().eval()) is not None
    assert head_alone(MODELS["capped logits"]().eval()) is None


def test_a_text_beyond_learned_positions_names_the_setting(config):
    rater = PaddedTokenRater(MODELS["learned positions"]().eval(), (loss,))
    assert isinstance(rater, PaddedRater)
    with pytest.raises(UserError, match=r"score\.max_length"):
        rater.rate(Batch(made_up_texts((300,), 0)))


def test_rows_of_equal_text_are_read_once_and_tie(config, tmp_path, monkeypatch):
    rows = json.loads(Path(config.pool.path).read_text())[:6]
    config = config.model_copy(update={"pool": pool_of([*rows, *rows[::-1]], tmp_path)})
    read: list[int] = []
    real = FittingRater.read
    monkeypatch.setattr(FittingRater, "read", lambda self, batch: read.append(len(batch.items)) or real(self, batch))
    losses = found(config, tmp_path / "out")
    assert sum(read) == 6 and (losses.response == losses.response[::-1]).all()


def test_a_killed_stage_resumes_and_reads_nothing_twice(config, tmp_path, monkeypatch):
    whole = found(config, tmp_path / "whole")
    config = config.model_copy(update={"batch_tokens": 200})
    monkeypatch.setattr("selectit.scoring.ledger.FLUSH_SECONDS", 0)
    out = tmp_path / "killed"
    seen = read_after_a_kill(monkeypatch, take, config, out, batch=5)
    kept = {
        row_id
        for part in (out / "ledger").glob("*.parquet")
        for row_id in parquet.read_table(part)["row_id"].to_pylist()
    }
    assert kept

    losses = found(config, out)
    assert len(seen) == len(set(seen)) == 40 - len(kept) and not kept & set(seen)
    np.testing.assert_allclose(losses.response, whole.response, atol=1e-5)
    assert not (out / "ledger").exists()


def test_the_response_keeps_its_token_ids_and_its_cut_without_the_instruction(config):
    tokenizer = load_tokenizer(config.model)
    groups = [[row] for row in read_pool(config.pool)]
    short = config.model_copy(update={"max_length": 64})
    of = {text: loss_texts(tokenizer, short.model_copy(update={"text": text}), groups) for text in TEXTS}
    assert any(text.truncated and text.scored.any() for text in of["conditioned"])
    for whole, marked, bare in zip(*of.values(), strict=True):
        assert len(whole.ids) <= 64 and whole.truncated == marked.truncated == bare.truncated
        response = whole.ids[whole.scored].tolist()
        assert marked.ids[marked.scored].tolist() == bare.ids[bare.scored].tolist() == response
        if response:
            assert tokenizer.decode(marked.ids[~marked.scored]).endswith(MARKER["alpaca"])
            assert bare.ids[~bare.scored].tolist() == [tokenizer.bos_token_id]


def test_the_plain_template_is_instruction_line_end_response(real_config):
    # Superfiltering's form: {instruction}\n or {instruction}\n{input}\n, then the output
    tokenizer = load_tokenizer(real_config.model)
    rows = [row for row in read_pool(real_config.pool) if row.raw["input"]][:3] + read_pool(real_config.pool)[:3]
    texts = loss_texts(tokenizer, real_config.model_copy(update={"template": "plain"}), [[row] for row in rows])
    for row, text in zip(rows, texts, strict=True):
        written = f"{row.instruction}\n{row.response}"
        assert text.ids.tolist() == [*tokenizer(written)["input_ids"], tokenizer.eos_token_id]
        assert tokenizer.decode(text.ids[text.scored]).strip() == f"{row.response}</s>".strip()


def test_all_turns_of_a_conversation_count(config, tmp_path):
    turns = ["Name a colour.", "Blue.", "Another one?", "Green, then."]
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
    pool = pool_of([{"messages": messages}], tmp_path)
    for text in ("conditioned", "bare"):
        own = config.model_copy(update={"pool": pool, "text": text})
        np.testing.assert_allclose(found(own, tmp_path / text).response, oracle(own)[:, 0], atol=1e-5)


def test_a_row_without_a_response_token_is_named_and_shifts_nothing(config, tmp_path):
    rows = json.loads(Path(config.pool.path).read_text())[:6]
    rows[2] = {**rows[2], "instruction": "word " * 200}
    rows[4] = {**rows[4], "output": ""}
    pool = pool_of(rows, tmp_path).model_copy(update={"bad_rows": "exclude"})
    config = config.model_copy(update={"pool": pool, "max_length": 150})
    out = take(config, tmp_path / "out")
    ids = [row.row_id for row in read_pool(pool)]
    losses = read_losses(out / "ledger.parquet", ids)
    assert losses.failures == [None, None, "no_response_token", None, "not_scored", None]
    assert np.isfinite(losses.response).tolist() == [failure is None for failure in losses.failures]
    reported = json.loads((out / "losses.json").read_text())
    assert reported["failures"] == {"no_response_token": 1, "empty_response": 1} and reported["num_truncated"] >= 1


def test_a_finished_ledger_is_verified_and_a_wrong_one_is_seen(config, tmp_path):
    out = take(config, tmp_path / "out")
    tracker = Tracker(out, Console(quiet=True))
    result = verify_losses(config, out, 10, tracker)
    assert result == json.loads((out / "verification.json").read_text()) and result["num_rows"] == 10
    assert result["max_response_loss_difference"] < 1e-5 and result["max_full_loss_difference"] < 1e-5
    table = parquet.read_table(out / "ledger.parquet")
    shifted = pa.array([loss + 0.5 for loss in table["response_loss"].to_pylist()])
    parquet.write_table(table.set_column(2, "response_loss", shifted), out / "ledger.parquet")
    assert verify_losses(config, out, 10, tracker)["max_response_loss_difference"] > 0.4
