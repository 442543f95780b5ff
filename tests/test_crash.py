"""Bad weather, with real stages in real processes: killed again and again, a full disk, damaged artifacts.

Whatever happened on the way, the table and every artifact end as the same bytes, what is measured apart.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

NUM_KILLS = 30
MEASURED = ("time", "seconds", "tokens_per_second", "tokens_per_second_now", "peak_memory_mb")
"""Whatever stands before it, as in `score/peak_memory_mb`."""


@pytest.fixture(scope="module")
def recipe(demo, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "pool.json").write_text(json.dumps(json.loads((demo / "pool.json").read_text())[:40]))
    raw = {
        "name": "small",
        "pool": {"path": "./pool.json"},
        "model": {"path": str(demo / "model")},
        "finetune": {
            "max_steps": 4, "global_batch_size": 4, "micro_batch_size": 4, "max_length": 256, "save_steps": 1,
            "gradient_checkpointing": False, "learning_rate": 1e-3, "warmup_ratio": 0,
        },
        "evaluate": {
            "profile": "miniature", "data": str(demo / "benchmarks"), "limit": 2, "benchmarks": ["mmlu", "gsm8k"],
        },
        "arms": {
            "selectit": {"select": {"strategy": "selectit", "num_rating_prompts": 2}},
            "random": {"select": {"strategy": "random"}},
        },
        "baseline": "random",
        "wandb": {"enabled": False},
    }  # fmt: skip
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def start(recipe: Path, runs: Path, **settings: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "selectit", "run", str(recipe), "--runs-dir", str(runs)]
    environment = {**os.environ, "COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, **settings
    )


def finished(recipe: Path, runs: Path, rc: int = 0, **settings: Any) -> str:
    process = start(recipe, runs, **settings)
    text, _ = process.communicate(timeout=600)
    assert process.returncode == rc, text
    assert "Traceback" not in text, text
    return text


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_measured(item) for key, item in value.items() if key.split("/")[-1] not in MEASURED}
    return [without_measured(item) for item in value] if isinstance(value, list) else value


def outcome(runs: Path) -> dict[str, Any]:
    """Every file of the artifacts and results.csv, measurements left out; manifests by what they say of the result."""
    found: dict[str, Any] = {"results.csv": (runs / "small" / "results.csv").read_bytes()}
    for path in (runs / "artifacts").rglob("*"):
        name = str(path.relative_to(runs))
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.name == "manifest.json":
            manifest = json.loads(path.read_text())
            kept = {key: manifest[key] for key in ("fingerprint", "identity", "inputs", "content")}
            found[name] = {**kept, "files": sorted(manifest["files"])}
        elif path.suffix == ".json" and path.name != "adapter_config.json":
            found[name] = without_measured(json.loads(path.read_text().replace(str(runs), "RUNS")))
        elif path.name == "metrics.jsonl":
            # a stage that was killed between its last words and its manifest says them again
            lines = [without_measured(json.loads(line)) for line in path.read_text().splitlines()]
            found[name] = [line for at, line in enumerate(lines) if line not in lines[:at]]
        elif path.name == "adapter_config.json":  # PEFT writes a set in another order in every process
            config = json.loads(path.read_text())
            found[name] = {**config, "target_modules": sorted(config["target_modules"])}
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> dict[str, Any]:
    """What an uninterrupted run leaves."""
    runs = tmp_path_factory.mktemp("whole")
    finished(recipe, runs)
    return outcome(runs)


def same(runs: Path, whole: dict[str, Any]) -> None:
    now = outcome(runs)
    assert sorted(now) == sorted(whole)
    assert [name for name in whole if now[name] != whole[name]] == []


def killed(recipe: Path, runs: Path, num_stages: int, delay: float) -> bool:
    """Kill a run `delay` seconds after it began its n-th stage. False: it was done before."""
    process = start(recipe, runs)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"[{num_stages}/"):
            break
    reader = threading.Thread(target=process.stdout.read)  # a full pipe would hold the run up
    reader.start()
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def folders(tmp_path: Path) -> Iterator[Path]:
    for number in range(NUM_KILLS):
        yield tmp_path / f"runs{number}"


@pytest.mark.slow
def test_killed_thirty_times_at_random_moments_every_byte_is_the_same(recipe, whole, tmp_path):
    draw, num_kills, fresh = random.Random(0), 0, folders(tmp_path)
    runs = next(fresh)
    while num_kills < NUM_KILLS:
        if killed(recipe, runs, draw.randint(1, 4), draw.uniform(0, 3)):
            num_kills += 1
            continue
        same(runs, whole)
        runs = next(fresh)  # this table is finished; the kills go on in the next
    finished(recipe, runs)
    same(runs, whole)


@pytest.mark.slow
def test_started_three_times_and_one_of_them_killed_the_others_finish_the_table(recipe, whole, tmp_path):
    processes = [start(recipe, tmp_path) for _ in range(3)]
    time.sleep(8)
    processes[0].send_signal(signal.SIGKILL)
    texts = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes[1:]] == [0, 0], texts
    same(tmp_path, whole)


@pytest.mark.slow
def test_damaged_artifacts_are_named_and_made_again_to_the_same_bytes(recipe, whole, tmp_path):
    finished(recipe, tmp_path)
    damaged = {
        "score": ("ledger.parquet", None), "select": ("messages.jsonl", 10), "evaluate": ("items.jsonl", 10),
        "finetune": ("adapter/adapter_model.safetensors", 1000),
    }  # fmt: skip
    for kind, (name, size) in damaged.items():
        [path, *_] = (tmp_path / "artifacts").glob(f"{kind}*/{name}")
        path.unlink() if size is None else os.truncate(path, size)
    text = finished(recipe, tmp_path)
    assert "ledger.parquet is gone" in text
    assert all(f"{name} has {size:,} bytes" in text for name, size in damaged.values() if size is not None), text
    same(tmp_path, whole)


def limit_file_sizes() -> None:
    """What a full disk does, without one: writing beyond 300 kB fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


@pytest.mark.slow
def test_a_disk_that_takes_no_weights_is_reported_and_the_same_command_resumes(recipe, whole, tmp_path):
    text = finished(recipe, tmp_path, rc=1, preexec_fn=limit_file_sizes)
    assert "failed" in text and "File too large" in text
    finished(recipe, tmp_path)
    same(tmp_path, whole)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 1 MB, which can grow by `resized`."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield small
    subprocess.run(["umount", "-l", str(small)], check=True)


def resized(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_without_room_for_the_weights_is_reported_before_anything_is_started(recipe, whole, small_disk):
    text = finished(recipe, small_disk, rc=1)
    assert "preflight failed, no stage was run" in text and "GB free, and 2 trainings write" in text
    assert not list((small_disk / "artifacts").glob("*"))
    resized(small_disk, "100m")
    finished(recipe, small_disk)
    same(small_disk, whole)


@pytest.mark.slow
@pytest.mark.parametrize("num_stages", [1, 2, 3, 4])
def test_a_disk_that_fills_up_is_reported_and_the_same_command_resumes(recipe, whole, small_disk, num_stages):
    resized(small_disk, "100m")
    process = start(recipe, small_disk)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"[{num_stages}/"):
            break
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass
    text = process.stdout.read()
    assert process.wait() == 1, text
    assert "No space left on device" in text and "Traceback" not in text, text
    filler.unlink()
    finished(recipe, small_disk)
    same(small_disk, whole)
