"""What a stage reports while it runs: numbers to metrics.jsonl, the same to W&B, progress to the terminal.

metrics.jsonl in the artifact folder is the truth; W&B is a copy. A W&B that cannot be reached costs one
warning and never a stage.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from selectit.data.jsonl import append_jsonl
from selectit.store.names import METRICS_FILE

WANDB_KEY_VARIABLE = "WANDB_API_KEY"
WANDB_INIT_TIMEOUT_SECONDS = 20
HELD = "is in use"
"""In W&B's error for the id of a run that its service holds, such as that of a killed process which shared it."""


class Advance(Protocol):
    """Moves a progress bar on; `description` and `detail` (such as the speed) replace what stands next to it."""

    def __call__(self, n: int, *, description: str | None = None, detail: str | None = None) -> None: ...


class Tracker:
    """One stage's log.

    Args:
        out: the stage's artifact folder; metrics.jsonl is appended to there.
        console: where notes and progress bars go.
        run: an open W&B run, or None.
    """

    def __init__(self, out: Path, console: Console, run: Any = None) -> None:
        self._out, self._console, self._run = out, console, run
        self._warned = False

    def log(self, metrics: Mapping[str, float | int | str], step: int | None = None) -> None:
        """Append one line to metrics.jsonl and send the same to W&B."""
        self.write(metrics, step)
        self.send(metrics, step)

    def write(self, metrics: Mapping[str, float | int | str], step: int | None = None) -> None:
        """Append one line to metrics.jsonl alone."""
        self._write({**({} if step is None else {"step": step}), **metrics})

    def send(self, metrics: Mapping[str, float | int | str], step: int | None = None) -> None:
        """Send to W&B what another process has written to metrics.jsonl."""
        self._wandb(lambda run, _: run.log({**metrics, **({} if step is None else {"stage_step": step})}))

    def _write(self, line: Mapping[str, Any]) -> None:
        append_jsonl(self._out / METRICS_FILE, [{"time": round(time.time(), 3), **line}])

    def histogram(self, name: str, values: Sequence[float]) -> None:
        self._wandb(lambda run, wandb: run.log({name: wandb.Histogram(values)}))

    def counts(self, name: str, counts: Sequence[int], edges: Sequence[float], step: int) -> None:
        """A histogram that is counted already: to metrics.jsonl as counts and edges, and to W&B."""
        line = {"step": step, name: {"counts": list(counts), "edges": list(edges)}}
        self._write(line)
        self._wandb(
            lambda run, wandb: run.log({name: wandb.Histogram(np_histogram=(counts, edges)), "stage_step": step})
        )

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], file: str | None = None) -> None:
        """Send a table to W&B. Args: file: in the artifact folder, holds the whole of it; metrics.jsonl names it."""
        if file is not None:
            self._write({name: file})
        data = [list(row) for row in rows]
        self._wandb(lambda run, wandb: run.log({name: wandb.Table(columns=list(columns), data=data)}))

    def page(self, name: str, text: str) -> None:
        """Send HTML or SVG to W&B, which shows it."""
        self._wandb(lambda run, wandb: run.log({name: wandb.Html(text, inject=False)}))

    def artifact(self, name: str, kind: str, *paths: Path) -> None:
        """Upload files as one W&B artifact."""

        def send(run: Any, wandb: Any) -> None:
            artifact = wandb.Artifact(name, type=kind)
            for path in paths:
                artifact.add_file(str(path))
            run.log_artifact(artifact)

        self._wandb(send)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._wandb(lambda run, _: run.summary.update(dict(values)))

    def note(self, text: str) -> None:
        """One line for the person who watches."""
        self._console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Advance]:
        """A progress bar with elapsed and remaining time; yields `advance(n)`."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        disable = not self._console.is_terminal  # a log file gets the line of the finished stage, not the bar
        with Progress(*columns, console=self._console, transient=True, disable=disable) as progress:
            task = progress.add_task(description, total=total, detail="")

            def advance(n: int, *, description: str | None = None, detail: str | None = None) -> None:
                progress.update(task, advance=n, description=description)
                if detail is not None:
                    progress.update(task, detail=detail)

            yield advance

    def _wandb(self, send: Callable[[Any, Any], None]) -> None:
        if self._run is None:
            return
        import wandb

        try:
            send(self._run, wandb)
        except Exception as error:  # the metrics are on disk; a failed upload must not cost the stage
            if not self._warned:
                warnings.warn(f"W&B did not take a record ({error}); metrics.jsonl has it", stacklevel=3)
            self._warned = True


def wandb_mode() -> Any:
    """`WANDB_MODE` if it is set; else online with a key and offline without one."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    has_key = WANDB_KEY_VARIABLE in os.environ or "api.wandb.ai" in _read_netrc()
    return "online" if has_key else "offline"


def _read_netrc() -> str:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _started(start: Callable[[Any, str | None], Any], mode: Any, run_id: str | None) -> Any:
    """A run, or None. Args: start: takes mode and id."""
    try:
        return start(mode, run_id)
    except Exception as error:
        if HELD in str(error):
            warnings.warn(f"W&B holds this run already ({error}); the stage is logged as a new run", stacklevel=4)
            run_id = f"{run_id}-{uuid4().hex[:8]}"
        else:
            warnings.warn(f"W&B is not reachable ({error}); from here on runs are logged offline", stacklevel=4)
            os.environ["WANDB_MODE"] = mode = "offline"  # one wait for the whole command, not one per stage
    try:
        return start(mode, run_id)
    except Exception as error:
        warnings.warn(f"W&B starts no run ({error}); metrics.jsonl has what would be logged", stacklevel=4)
        return None


@contextmanager
def wandb_run(
    *,
    directory: Path,
    project: str,
    entity: str | None,
    group: str,
    job_type: str,
    name: str,
    config: dict[str, Any],
    run_id: str | None = None,
) -> Iterator[Any]:
    """One W&B run for one stage; None where W&B is off or starts no run. It never costs the stage.

    Args: run_id: the same for a stage that is resumed, which then continues its run; None: a new run each time.
    """
    mode = wandb_mode()
    if mode == "disabled":
        yield None
        return
    import wandb

    directory.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(
        console="off",
        silent=True,
        init_timeout=WANDB_INIT_TIMEOUT_SECONDS,
        disable_git=True,
        x_disable_meta=True,  # the command line, the user and the host; the metrics of the system stay on
    )

    def start(mode: Any, run_id: str | None) -> Any:
        return wandb.init(
            mode=mode,
            settings=quiet,
            dir=str(directory),
            project=project,
            entity=entity,
            group=group,
            job_type=job_type,
            name=name,
            config=config,
            reinit="finish_previous",
            id=run_id,
            resume=None if run_id is None else "allow",
        )

    run = _started(start, mode, run_id)
    if run is None:
        yield None
        return
    for name in ("train/*", "validation/*", "score/*"):
        run.define_metric(name, step_metric="stage_step")
    exit_code = 1
    try:
        yield run
        exit_code = 0
    finally:
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            warnings.warn(f"W&B did not close its run ({error}); metrics.jsonl is complete", stacklevel=2)
