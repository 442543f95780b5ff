"""`selectit strategies`: what there is to choose rows by, what each reads, and its fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from selectit.cli.consoles import console
from selectit.cli.single_stage import FILES
from selectit.config import Config
from selectit.errors import UserError, did_you_mean

strategies_app = typer.Typer()
Plugins = Annotated[list[Path], typer.Option(help="Python file with strategies of your own; repeatable.")]


@strategies_app.command(rich_help_panel=FILES)
def strategies(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One strategy: its fields.")] = None,
    plugin: Plugins = [],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the strategies, or the fields of one."""
    from selectit.selection.registry import OF_YOUR_OWN, known

    found = known(plugin)
    if name is not None and name not in found:
        why = f"there is no strategy '{name}'; allowed are {', '.join(found)}.{did_you_mean(name, found)}{OF_YOUR_OWN}"
        raise UserError(found.broken.get(name, why))
    described = {one: _described(schema) for one, schema in found.items() if name in (None, one)}
    if as_json:
        from selectit.cli.json_output import as_text

        typer.echo(as_text({"strategies": described, "broken": dict(found.broken)}))
        return
    if name is None:
        _print_all(described)
    else:
        _print_one(name, described[name])
    for why in found.broken.values() if name is None else ():
        console.print(why, style="red", highlight=False, markup=False, soft_wrap=True)


def _described(schema: Any) -> dict[str, Any]:
    from selectit.selection.examples import what_it_needs
    from selectit.selection.plugins import source_text

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if isinstance(value, Config) else value

    return {
        "sentence": schema.__doc__.strip().splitlines()[0],
        "reads": what_it_needs(schema),
        "from": source_text(schema),
        "fields": {
            field: {
                "default": None if info.is_required() else plain(info.get_default(call_default_factory=True)),
                "required": info.is_required(),
                "doc": " ".join((info.description or "").split()),
            }
            for field, info in schema.model_fields.items()
            if field != "strategy"
        },
    }


def _print_all(described: dict[str, Any]) -> None:
    from selectit.selection.strategy import RatioStrategy

    table = Table(box=None, pad_edge=False)
    for column in ("strategy", "takes", "reads next to the pool", "fields"):
        table.add_column(column, overflow="fold")
    of_all_by_score = [*RatioStrategy.later_defaults]
    for name, one in described.items():
        reads = ", ".join(one["reads"])
        fields = [field for field in one["fields"] if field not in of_all_by_score]
        table.add_row(*map(escape, (name, one["sentence"], reads, ", ".join(fields))))
    console.print(table)
    by_score = ", ".join(name for name, one in described.items() if {*of_all_by_score} <= {*one["fields"]})
    console.print(
        f"{' and '.join(of_all_by_score)} are fields of {by_score} too; selectit strategies NAME describes all"
    )


def _print_one(name: str, one: dict[str, Any]) -> None:
    lines = [f"{name}: {one['sentence']}", f"reads: {', '.join(['the pool', *one['reads']])}", f"from: {one['from']}"]
    lines += [f"  {_with_default(field, info)}: {info['doc']}" for field, info in one["fields"].items()]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _with_default(field: str, info: dict[str, Any]) -> str:
    return field if info["required"] else f"{field}={'null' if info['default'] is None else info['default']}"
