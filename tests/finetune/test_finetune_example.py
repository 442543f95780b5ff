"""The training row that the report shows is the text the model saw, marked where the loss was."""

from selectit.config import FinetuneConfig, ModelConfig
from selectit.data.conversations import Conversation
from selectit.finetune.dataset import tokenize
from selectit.finetune.example import segments
from selectit.inference.load import load_tokenizer
from selectit.templates import chat_template
from selectit.templates.form import load_form


def test_the_shown_row_is_what_the_model_saw_and_only_answers_are_marked(demo):
    tokenizer = load_tokenizer(ModelConfig(path=str(demo / "model")))
    messages = (
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "  Paris."},
        {"role": "user", "content": "And of Spain?"},
        {"role": "assistant", "content": "Madrid."},
    )
    conversation, form = Conversation("r", messages), load_form("alpaca", tokenizer)
    whole = tokenizer.apply_chat_template(messages, chat_template=chat_template("alpaca"), tokenize=False)
    [row] = tokenize([conversation], form, FinetuneConfig(template="alpaca")).rows
    found = segments(conversation, row, form)
    assert "".join(part["text"] for part in found) == whole and whole.startswith("<s>Below is")
    assert [part["text"] for part in found if part["trained"]] == ["  Paris.</s>", "Madrid.</s>"]

    settings = FinetuneConfig(template="alpaca", max_length=len(row.input_ids) - 1, max_truncated_share=1)
    [shorter] = tokenize([conversation], form, settings).rows
    assert "".join(part["text"] for part in segments(conversation, shorter, form)) + "</s>" == whole
