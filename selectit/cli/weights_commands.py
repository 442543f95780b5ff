"""The commands on finished work: merge an adapter into its base, publish weights or a subset.

Start-up imports nothing heavy; a command imports what it runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from selectit.cli.consoles import console
from selectit.cli.single_stage import check_revision
from selectit.errors import UserError, did_you_mean
from selectit.store.names import SELECTION_FILE

weights_app = typer.Typer()

WEIGHTS = "Finished work"
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
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="WHAT", help="Folder of an adapter or a model; or a subset, or its selection.")
    ],
    push: Annotated[
        str | None, typer.Option(help="Hub repository, such as me/my-model; without it nothing is sent.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Hub id of the base, where the weights were trained on a folder.")
    ] = None,
    private: Annotated[bool, typer.Option(help="Of a new repository.")] = True,
    out: Annotated[Path | None, typer.Option(help="Subset: folder for its data set; default: dataset-NAME.")] = None,
    as_: Annotated[str | None, typer.Option("--as", help="Subset: write messages, alpaca or sharegpt.")] = None,
    runs_dir: Annotated[Path, typer.Option(help="Subset: where the selection is that wrote the file.")] = Path("runs"),
) -> None:
    """Show what would be uploaded to the hub, and with --push upload it."""
    is_subset = folder.is_file() or (folder / SELECTION_FILE).is_file()
    given = {p for p in context.params if str(context.get_parameter_source(p)).endswith("COMMANDLINE")}
    if is_subset:
        from selectit.store.outputs import Output, check_outputs

        _refuse_options(given & {"base"}, "an adapter or a model", folder)
        out = Path(f"dataset-{folder.stem}") if out is None and push is None else out
        if out is not None:
            check_outputs({"WHAT": [folder]}, Output("--out", out, (), made_later=True))
        _publish_subset(folder, push, private, out, as_, runs_dir)
        return
    _refuse_options(given & {"out", "as_", "runs_dir"}, "a subset", folder)
    from selectit.audit.data_set import is_data_set

    if is_data_set(folder):
        _refuse_options(given & {"base"}, "an adapter or a model", folder)
        _upload_data_set(folder, push, private)
        return
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


def _refuse_options(given: set[str], of: str, folder: Path) -> None:
    if given:
        names = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in sorted(given))
        raise UserError(f"{names}: that is of {of}, which {folder} is not; leave it out")


def _publish_subset(
    subset: Path, push: str | None, private: bool, out: Path | None, form: str | None, runs_dir: Path
) -> None:
    from selectit.audit.data_set import make_data_set, selection_of
    from selectit.data.other_tools import check_form
    from selectit.store.hub import check_hub

    if form is not None:
        check_form(form)
    if push is not None:
        check_hub()
    selection = selection_of(subset, [runs_dir])
    with tempfile.TemporaryDirectory(prefix="selectit-publish-") as name:
        folder = out or Path(name)
        make_data_set(selection, form, folder)
        _upload_data_set(folder, push, private)
        if out is not None:
            console.print(f"data set: {folder}", highlight=False, soft_wrap=True)


def _upload_data_set(folder: Path, push: str | None, private: bool) -> None:
    from selectit.store.hub import upload

    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        console.print(f"{path.relative_to(folder)}  {path.stat().st_size / 2**20:.1f} MiB", highlight=False)
    if push is None:
        console.print("nothing was uploaded; --push USER/NAME does", highlight=False)
        return
    address = upload(folder, push, private, "dataset", folder)
    console.print(f"published: {address}", highlight=False, soft_wrap=True)
