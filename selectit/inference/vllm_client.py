"""vLLM in a Python of its own: starts it, asks it, ends it.

vLLM pins other releases of torch and transformers than this project, so it is never imported here; token ids and
numbers go over a socket that only this user can open (vllm_worker.py).
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.inference.load import resolve_dtype

SECONDS_TO_START = 60
"""Until the interpreter has opened the socket; loading comes later and may take as long as it takes."""
SECONDS_TO_END = 10
SECONDS_TO_FIND = 60
NUM_QUOTED_LINES = 12
FIND = "import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('vllm') else 3)"

CURE = (
    "name an interpreter that has it: python3.11 -m venv ~/vllm, ~/vllm/bin/pip install vllm, and then "
    "vllm_python ~/vllm/bin/python (docs/performance.md)"
)


def _program(python: str | None) -> str:
    """None: this interpreter. Links are kept, for one makes a virtual environment; PATH is searched for a bare name."""
    path = os.path.expanduser(python or sys.executable)
    return os.path.abspath(path) if os.sep in path else path


def _clean_environment() -> dict[str, str]:
    """Of this process, without what would make another interpreter import this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def check_vllm(model: ModelConfig, python: str | None, section: str) -> None:
    """What can be said before vLLM is started.

    Args:   section: of the recipe, such as score.
    Raises: UserError where vLLM is not in that Python, or the model's settings are not for it.
    """
    if model.max_memory is not None:
        raise UserError(
            f"max_memory {model.max_memory} is for {section}.backend transformers: vLLM takes what it needs of each "
            "GPU and has no use for the model's max_memory; leave it out"
        )
    _find_vllm(python or sys.executable)


def engine_settings(model: ModelConfig, max_model_len: int | None, num_gpus: int) -> dict[str, Any]:
    """What vLLM's `LLM` takes. Args: max_model_len: tokens; None: the model's context; num_gpus: that it has."""
    return {
        "model": str(Path(model.path).resolve()) if Path(model.path).exists() else model.path,
        "revision": model.revision,
        "dtype": str(resolve_dtype(model)).removeprefix("torch."),
        "tensor_parallel_size": num_gpus,
        "max_model_len": max_model_len,
    }


@functools.cache  # every stage of a plan asks
def _find_vllm(python: str) -> None:
    """Raises: UserError where the interpreter cannot be started or has no vLLM; vLLM itself is not imported."""
    try:
        done = subprocess.run(
            [_program(python), "-c", FIND],
            env=_clean_environment(),
            cwd="/",  # a folder of that name in the current one is not vLLM
            capture_output=True,
            timeout=SECONDS_TO_FIND,
        )
    except OSError as error:
        raise UserError(f"vllm_python: {python} cannot be started ({error.strerror}); {CURE}") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"vllm_python: {python} did not answer in {SECONDS_TO_FIND} seconds; {CURE}") from error
    if done.returncode:
        raise UserError(f"vllm_python: {python} has no vLLM; {CURE}")


class VllmEngine:
    """A model in vLLM, until it is closed.

    Args:
        python: an interpreter with vLLM; None: this one.
        settings: `engine_settings`.
        environment: variables in addition to those of this process.
    Raises: UserError where the interpreter or vLLM in it does not work, or does not take the model.
    """

    def __init__(
        self, python: str | None, settings: dict[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self._python = _program(python)
        self._folder = tempfile.TemporaryDirectory(prefix="selectit-vllm-")
        self._log = Path(self._folder.name) / "log"
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._connection = self._start(environment or {})
            facts = self.ask("load", **settings)
        except BaseException:
            self.close()
            raise
        self.version: str = facts["version"]
        self.dtype: str = facts["dtype"]
        self.device: str = facts["device"]
        self.max_model_len: int = facts["max_model_len"]

    def _start(self, own: Mapping[str, str]) -> Connection:
        key = secrets.token_bytes(32)
        environment = {**_clean_environment(), **own}
        environment.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        environment.setdefault("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")  # a full context and the token that it predicts
        worker = (files("selectit.inference") / "vllm_server.py").read_text(encoding="utf-8")
        script = Path(self._folder.name) / "vllm_worker.py"  # a file, for vLLM starts processes that read it again
        script.write_text(worker, encoding="utf-8")
        with Listener(str(Path(self._folder.name) / "socket"), "AF_UNIX", authkey=key) as listener:
            try:
                with self._log.open("wb") as log:
                    self._process = subprocess.Popen(
                        [self._python, str(script), listener.address],
                        env={**environment, "SELECTIT_VLLM_KEY": key.hex()},
                        cwd=self._folder.name,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # a group, so that what vLLM starts ends with it
                    )
            except OSError as error:
                raise UserError(f"vllm_python: {self._python} cannot be started ({error.strerror})") from error
            # multiprocessing has no public time limit for accept()
            listener._listener._socket.settimeout(SECONDS_TO_START)  # type: ignore[attr-defined]
            try:
                return listener.accept()
            except (TimeoutError, OSError) as error:
                raise UserError(f"vllm_python: {self._python} did not answer{self._quote()}") from error

    def ask(self, method: str, **arguments: Any) -> Any:
        """What `vllm_worker.Engine` returns.

        Raises: UserError with the end of its log, where vLLM raises or is gone.
        """
        assert self._connection is not None
        try:
            self._connection.send((method, arguments))
            status, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise UserError(f"vLLM in {self._python} was killed, most likely for memory{self._quote()}") from error
        if status == "error":
            raise UserError(f"vLLM in {self._python} failed: {value}{self._quote()}")
        return value

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_END)
            with contextlib.suppress(ProcessLookupError):  # all have ended
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._folder.cleanup()

    def _quote(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        lines = [line for line in lines if line.strip()][-NUM_QUOTED_LINES:]
        return "; the end of what it wrote:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
