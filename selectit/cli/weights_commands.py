"""The commands on trained weights: merge an adapter into its base, publish a folder.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selectit.cli.consoles import console
from selectit.cli.single_stage import check_revision
from selectit.errors import UserError, did_you_mean

weights_app = typer.Typer()

WEIGHTS = "Trained weights"
DTYPES = ("auto", "float32", "bfloat16", "float16")


@weights_app.command(rich_help_panel=WEIGHTS)
def merge(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of an adapter, or of its training.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged model.")],
    model: Annotated[str | None, typer.Option(help="Base model; default: the one that the adapter names.")] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of a hub base; default: the training's.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto (as the base is stored), float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Merge an adapter into its base; the result loads in plain transformers."""
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: allowed are {', '.join(DTYPES)}.{did_you_mean(dtype, list(DTYPES))}")
    if model is not None:
        check_revision(model, revision)
    from selectit.finetune.folders import find_adapter
    from selectit.finetune.merge import merge as merge_adapter
    from selectit.store.outputs import Output, check_outputs
    from selectit.store.trained_on import base_of

    folder = find_adapter(adapter)
    base = base_of(str(folder), model, revision)
    check_outputs({"ADAPTER": [folder], "--model" if model else "the adapter": [base.path]}, Output("--out", out, ()))

    chosen: Any = None if dtype == "auto" else dtype
    console.print(str(merge_adapter(adapter, out, model, chosen, revision)), highlight=False, soft_wrap=True)
    console.print(f"model: {out}", highlight=False, soft_wrap=True)


@weights_app.command(rich_help_panel=WEIGHTS)
def publish(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of an adapter or a model.")],
    push: Annotated[
        str | None, typer.Option(help="Hub repository, such as me/my-model; without it nothing is sent.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Hub id of the base, where the weights were trained on a folder.")
    ] = None,
    private: Annotated[bool, typer.Option(help="Of a new repository.")] = True,
) -> None:
    """Show what would be uploaded to the hub, and with --push upload it."""
    from selectit.finetune.publish import files_of, without_local_paths
    from selectit.finetune.publish import push as upload

    changed = without_local_paths(folder, base)
    for path in files_of(folder):
        name = str(path.relative_to(folder))
        note = "  (the path of the base becomes its hub id)" if name in changed else ""
        console.print(f"{name}  {path.stat().st_size / 2**20:.1f} MiB{note}", highlight=False)
    if push is None:
        console.print("nothing was uploaded; --push USER/NAME does", highlight=False)
        return
    console.print(f"published: {upload(folder, push, private, base)}", highlight=False, soft_wrap=True)
