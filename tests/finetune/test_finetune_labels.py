"""What is trained on: the labels of real and made-up rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_training import tiny_rows, write_subset

from selectit.config import FinetuneConfig, ModelConfig
from selectit.data.conversations import Conversation, read_conversations
from selectit.errors import UserError
from selectit.finetune.dataset import IGNORED_LABEL, TrainingRow, tokenize
from selectit.inference.load import load_tokenizer
from selectit.templates import INPUT_SEPARATOR
from selectit.templates.form import load_form

NUM_REAL_ROWS = 200
TURNS = (
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "Another one?"},
    {"role": "assistant", "content": "Green, then."},
)


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path):
    return load_tokenizer(ModelConfig(path=str(tiny_llama)))


def alpaca_rows(shared_data: Path, folder: Path) -> tuple[list[dict[str, str]], Path]:
    rows = json.loads((shared_data / "alpaca" / "alpaca_en_demo.json").read_text(encoding="utf-8"))[:NUM_REAL_ROWS]
    messages = []
    for i, row in enumerate(rows):
        user = {"role": "user", "content": row["instruction"], **({"input": row["input"]} if row["input"] else {})}
        answer = {"role": "assistant", "content": row["output"]}
        messages.append({"row_id": str(i), "messages": [user, answer]})
    return rows, write_subset(folder, messages) / "messages.jsonl"


def tokenized(conversations, tokenizer, bad_rows="refuse", **finetune):
    settings = {"max_length": 100_000, "template": "llmzoo", **finetune}
    return tokenize(conversations, load_form(settings["template"], tokenizer), FinetuneConfig(**settings), bad_rows)


def trained_spans(row: TrainingRow) -> list[list[int]]:
    """The runs of token ids that carry a label."""
    edges = np.flatnonzero(np.diff(row.labels != IGNORED_LABEL, prepend=False, append=False))
    return [row.labels[start:end].tolist() for start, end in edges.reshape(-1, 2)]


@pytest.mark.parametrize(
    ("model", "template", "before"),
    [
        ("stories260K", "alpaca", ""),
        ("stories260K", "llmzoo", "<s> "),  # SentencePiece decodes the first word with its space
        ("tiny", "alpaca", ""),
        ("tiny", "llmzoo", "<s>"),
    ],
)
def test_labels_of_real_rows_are_the_response_and_the_end_token(
    template, before, model, shared_data, tiny_llama, tmp_path
):
    path = tiny_llama if model == "tiny" else shared_data / "models" / model
    tokenizer = load_tokenizer(ModelConfig(path=str(path)))
    rows, file = alpaca_rows(shared_data, tmp_path)
    training_set = tokenized(read_conversations(file, template), tokenizer, template=template)
    assert len(training_set.rows) == NUM_REAL_ROWS
    for row, made in zip(rows, training_set.rows, strict=True):
        (span,) = trained_spans(made)
        assert tokenizer.decode(span) == before + row["output"] + "</s>"
        assert (made.labels[made.labels != IGNORED_LABEL] == made.input_ids[made.labels != IGNORED_LABEL]).all()


@pytest.mark.parametrize("template", ["alpaca", "llmzoo"])
def test_every_assistant_turn_is_trained_on(template, tokenizer):
    training_set = tokenized([Conversation("a", TURNS)], tokenizer, template=template)
    before = "<s>" if template == "llmzoo" else ""
    spans = [tokenizer.decode(span) for span in trained_spans(training_set.rows[0])]
    assert spans == [before + "Blue.</s>", before + "Green, then.</s>"]


def test_llmzoo_rows_have_the_form_of_the_released_code(tokenizer):
    row = tokenized([Conversation("a", TURNS)], tokenizer).rows[0]
    text = tokenizer.decode(row.input_ids)
    assert text.startswith("<s> A chat between a curious human and an artificial intelligence assistant. ")
    assert text.endswith(
        "questions.\n\nHuman: <s>Name a colour.</s>Assistant: <s>Blue.</s>Human: <s>Another one?</s>"
        "Assistant: <s>Green, then.</s>"
    )
    for span in trained_spans(row):
        assert (span[0], span[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


@pytest.mark.parametrize("template", ["alpaca", "llmzoo"])
def test_an_input_is_joined_to_its_instruction(template, tokenizer, tmp_path):
    message = {"role": "user", "content": "Sort these.", "input": "b, a"}
    rows = [{"row_id": "a", "messages": [message, {"role": "assistant", "content": "a, b"}]}]
    conversations = read_conversations(write_subset(tmp_path, rows) / "messages.jsonl", template)
    text = tokenizer.decode(tokenized(conversations, tokenizer, template=template).rows[0].input_ids)
    assert "Sort these." + INPUT_SEPARATOR[template] + "b, a" in text
    assert ("paired with an input" in text) == (template == "alpaca")


def test_truncated_rows_keep_their_head_and_are_counted(tokenizer):
    conversations = [Conversation("short", TURNS[:2]), Conversation("long", TURNS)]
    whole = tokenized(conversations, tokenizer)
    limit = len(whole.rows[0].input_ids)
    cut = tokenized(conversations, tokenizer, max_length=limit, max_truncated_share=0.5)
    assert (whole.num_truncated, cut.num_truncated) == (0, 1)
    assert (cut.rows[1].input_ids == whole.rows[1].input_ids[:limit]).all()
    assert (cut.rows[1].labels == whole.rows[1].labels[:limit]).all()
    assert cut.num_tokens == 2 * limit
    assert cut.num_trained_tokens == 2 * len("_Blue._")


def test_too_many_truncated_rows_are_refused(tokenizer):
    conversations = [Conversation("short", TURNS[:2]), Conversation("long", TURNS)]
    limit = len(tokenized(conversations, tokenizer).rows[0].input_ids)
    with pytest.raises(UserError, match=r"1 of 2 rows are longer than finetune.max_length .* allows\s+40"):
        tokenized(conversations, tokenizer, max_length=limit, max_truncated_share=0.4)


def test_rows_without_a_label_are_refused_by_name_or_left_out(tokenizer):
    conversations = [Conversation("fine", TURNS[:2]), Conversation("question only", TURNS[:1])]
    with pytest.raises(
        UserError, match=r"1 of 2 rows cannot be trained on \(1 nothing_to_train_on\): row question only"
    ):
        tokenized(conversations, tokenizer)
    left = tokenized(conversations, tokenizer, bad_rows="exclude")
    assert [row.row_id for row in left.rows] == ["fine"]
    assert [(row.row_id, row.kind) for row in left.left_out] == [("question only", "nothing_to_train_on")]
    with pytest.raises(UserError, match=r"1 of 1 rows cannot be trained on.*row cut off: .*max_length 150"):
        tokenized([Conversation("cut off", TURNS[:2])], tokenizer, max_length=150, max_truncated_share=1)
    with pytest.raises(UserError, match="1 of 1 rows cannot be trained on"):  # nothing would be left
        tokenized(conversations[1:], tokenizer, bad_rows="exclude")


def test_a_chat_template_that_marks_only_some_turns_is_refused(tiny_llama):
    tokenizer = load_tokenizer(ModelConfig(path=str(tiny_llama)))
    tokenizer.chat_template = (
        "{% for m in messages %}{% if loop.last %}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    with pytest.raises(UserError, match="row a: the template marks 1 of its 2 assistant turns"):
        tokenized([Conversation("a", TURNS)], tokenizer, template="chat")


def test_an_empty_subset_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no row"):
        read_conversations(write_subset(tmp_path, []) / "messages.jsonl", "alpaca")


def test_rows_beyond_the_context_of_the_model_are_refused(tiny_llama, train_tiny, subset):
    rows = tiny_rows(2)
    rows[1]["messages"][0]["content"] = "long " * 300
    write_subset(subset, rows)
    with pytest.raises(UserError, match=r"row row-1 has 1[0-9]{3} tokens and the model's context is 1024"):
        train_tiny("out", max_length=2048)
