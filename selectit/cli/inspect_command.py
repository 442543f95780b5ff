"""The command `selectit inspect`: what a pool holds and how it will be read, before anything is spent on it.

Start-up imports nothing heavy; the command imports what it runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from selectit.cli.consoles import console
from selectit.cli.pool_options import with_pool_options
from selectit.cli.single_stage import FILES, PoolFile

if TYPE_CHECKING:
    from selectit.data.inspection import Extent, Inspection
    from selectit.data.pool import Row

inspect_app = typer.Typer()


@inspect_app.command(rich_help_panel=FILES)
@with_pool_options
def inspect(
    pool: PoolFile,
    model: Annotated[str | None, typer.Option(help="Folder or hub id: its tokenizer writes the training row.")] = None,
    template: Annotated[str, typer.Option(help="Of the training row: alpaca, llmzoo or chat.")] = "alpaca",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """State what a pool holds and how it will be read."""
    from selectit.cli.json_output import as_text
    from selectit.data.inspection import inspect_pool
    from selectit.recipe.load import resolve_arm

    arm = resolve_arm(
        {
            "pool": pool,
            "model": {"path": model or "none"},
            "select": {"strategy": "full"},
            "finetune": {"template": template},
        }
    )
    found = inspect_pool(arm.pool)
    rating = None if found.first is None else _rating_text(found.first)
    training = None if found.first is None or model is None else _training_row(found.first, arm)
    if as_json:
        counted = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        first = counted.pop("first")
        for name in ("turns", "instruction_chars", "response_chars"):
            counted[name] = None if counted[name] is None else dataclasses.asdict(counted[name])
        shown = {"first_row": None if first is None else first.index, "rating_text": rating, "training_row": training}
        typer.echo(as_text({**counted, **shown}))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(found):
        table.add_row(name, text)
    console.print(table, markup=False, highlight=False)
    for title, shown_text in (("Rating text", rating), ("Training row", training)):
        if shown_text is not None and found.first is not None:
            console.print(f"\n{title} of row {found.first.index}:", style="bold")
            console.print(shown_text, markup=False, highlight=False, soft_wrap=True)


def _lines(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "format", f"{found.format} ({', '.join(f'{part}: {column}' for part, column in found.columns.items())})"
    yield "rows", f"{found.num_rows}, of which {found.num_usable} can be used"
    for kind, count in found.failures.items():
        yield f"  {kind}", f"{count}, such as {found.first_failures[kind]}"
    if found.ids is not None:
        yield "ids", found.ids
    yield "repeated", f"{found.num_repeated} usable rows say what a row in front of them says"
    yield "turns", f"{_counted(found.roles)}; in a row {_spread(found.turns)}"
    if found.num_untrained_turns:
        yield "", f"{found.num_untrained_turns} turns of the assistant are not trained on"
    yield "instruction", f"{_spread(found.instruction_chars)} characters"
    yield "response", f"{_spread(found.response_chars)} characters"
    yield "unread columns", _counted(found.unread_columns)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"


def _spread(spread: Extent | None) -> str:
    return "none" if spread is None else f"{spread.lowest} to {spread.highest}, median {spread.median:g}"


def _rating_text(row: Row) -> str:
    from selectit.config import DEFAULT_RATING_PROMPTS
    from selectit.scoring.prompts import rating_text, read_rating_prompts

    [prompt, *_] = read_rating_prompts(DEFAULT_RATING_PROMPTS, "corrected")
    return rating_text(prompt, row.instruction, row.response)


def _training_row(row: Row, arm: Any) -> str:
    """The row as it is tokenised, what is trained on between marks; or why it cannot be trained on."""
    from selectit.data.conversations import as_conversation
    from selectit.finetune.check import shown_row
    from selectit.inference.load import load_tokenizer
    from selectit.templates.form import BadRow, load_form

    form = load_form(arm.finetune.template, load_tokenizer(arm.model))
    try:
        return shown_row(as_conversation(row.row_id, row.messages, arm.finetune.template), form, arm.finetune)
    except BadRow as fault:
        return f"cannot be trained on ({fault.kind}): {fault}"
