"""Chat format is the form that a model was trained in, or its answers are worth nothing: refuse any other.

Reads the chat template that fine-tuning leaves next to its weights.
"""

from __future__ import annotations

from pathlib import Path

from selectit.errors import UserError
from selectit.store.names import TRAINED_ON_FILE, TRAINING_FILE
from selectit.templates import own_names, template_name

TEMPLATE_FILE = "chat_template.jinja"


def check_template(weights: str, template: str, text: str) -> None:
    """Args:   weights: an adapter or a model, by folder; template, text: what the prompts stand in, and its Jinja text.
    Raises: UserError where the weights were trained in another template.
    """
    file = Path(weights) / TEMPLATE_FILE
    if not file.is_file():
        return
    trained = file.read_text(encoding="utf-8")
    if trained == text:
        return
    names = own_names(trained)
    was = f"'{names[0]}'" if names else f"that of {file}"
    cure = f"set the template to {names[0] if names else file} (finetune.template, --template)"
    raise UserError(
        f"{weights} was trained in the template {was} and would be asked in '{template_name(template)}', a form "
        f"that it does not know; {cure}, or evaluate the benchmarks that are not in chat format"
    )


def is_trained_here(model: str) -> bool:
    """Whether a folder is a model that this project trained or merged."""
    return (Path(model) / TRAINED_ON_FILE).is_file() or (Path(model).parent / TRAINING_FILE).is_file()
