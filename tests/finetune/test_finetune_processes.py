"""Training in two processes on the CPU: DDP and DeepSpeed ZeRO train to the weights of one process.

Real launchers, real DeepSpeed engines, gloo. Every launch costs the imports of two processes, so that most of
these are slow (docs/development.md has the seconds).
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import PeftModel
from rich.console import Console
from tiny_training import logged, stage_config, tiny_rows, train, write_subset
from transformers import AutoModelForCausalLM

from selectit.config import FinetuneStage
from selectit.errors import Preempted, UserError
from selectit.finetune.reporting import EventReader, EventTracker
from selectit.store.names import CHECKPOINT_RECORD
from selectit.tracking import Tracker

ROOT = Path(__file__).parents[2]
NUM_ROWS = 21  # steps of 8, 8 and 5 rows: in the last pass of an epoch one process has no row
SETTINGS: dict[str, dict[str, Any]] = {
    # rank 16: matrices above the size that ZeRO-3 leaves whole; dropout: its draws must not depend on the processes
    "lora": {"method": "lora", "lora": {"r": 16, "dropout": 0.2}},
    "full": {"method": "full", "learning_rate": 1e-3},
}
TWO = {"launcher": "torchrun", "num_processes": 2}


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    return write_subset(tmp_path / "subset", tiny_rows(NUM_ROWS))


@pytest.fixture
def config(tiny_llama: Path) -> Callable[..., FinetuneStage]:
    def make(method: str = "lora", **settings: Any) -> FinetuneStage:
        return stage_config(
            tiny_llama, **{"global_batch_size": 8, "micro_batch_size": 2, **SETTINGS[method], **settings}
        )

    return make


def logits(out: Path, base: Path) -> torch.Tensor:
    """Of the saved weights, loaded with plain transformers and PEFT."""
    if (out / "adapter").exists():
        model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out / "adapter")
    else:
        model = AutoModelForCausalLM.from_pretrained(out / "model")
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 40)[None]).logits


def assert_same_training(out: Path, reference: Path, base: Path) -> None:
    for name in ("train/loss", "train/grad_norm", "train/learning_rate", "train/tokens"):
        assert logged(out, name) == pytest.approx(logged(reference, name), rel=1e-5), name
    found, wanted = logits(out, base), logits(reference, base)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    record, alone = (json.loads((folder / "training.json").read_text()) for folder in (out, reference))
    for name in ("num_rows", "num_tokens", "num_trained_tokens", "num_steps", "num_epochs"):
        assert record[name] == alone[name], name


def test_two_processes_with_zero3_train_to_the_adapter_of_one(config, subset, tiny_llama, tmp_path):
    train(config(), subset, tmp_path / "one")
    train(config(**TWO, deepspeed="zero3"), subset, tmp_path / "two")
    assert_same_training(tmp_path / "two", tmp_path / "one", tiny_llama)
    assert sorted(log.name for log in (tmp_path / "two" / "logs").iterdir()) == [
        "launcher.log",
        "rank0.log",
        "rank1.log",
    ]
    assert not list((tmp_path / "two").glob(".launch"))


@pytest.mark.slow
def test_packed_rows_a_budget_of_tokens_and_dora_train_to_the_same_weights_in_two_processes(
    config, subset, tiny_llama, tmp_path
):
    settings = {"packing": True, "micro_batch_size": 4, "budget": "tokens", "budget_tokens": 700}
    lora = {"r": 16, "dropout": 0.2, "use_dora": True, "use_rslora": True}
    train(config(**settings, lora=lora), subset, tmp_path / "one")
    train(config(**settings, lora=lora, **TWO, deepspeed="zero2"), subset, tmp_path / "two")
    assert_same_training(tmp_path / "two", tmp_path / "one", tiny_llama)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "deepspeed"), [("full", "zero2_offload"), ("lora", "zero3_offload")])
def test_offloading_trains_to_the_same_weights(deepspeed, method, config, subset, tiny_llama, tmp_path):
    train(config(method), subset, tmp_path / "one")
    train(config(method, **TWO, deepspeed=deepspeed, gradient_checkpointing=True), subset, tmp_path / "two")
    assert_same_training(tmp_path / "two", tmp_path / "one", tiny_llama)


@pytest.mark.slow
@pytest.mark.parametrize("deepspeed", ["none", "zero2"])
def test_launchers_train_to_the_same_bits(deepspeed, config, subset, tmp_path):
    for launcher in ("torchrun", "accelerate", "deepspeed"):
        train(config(launcher=launcher, num_processes=2, deepspeed=deepspeed), subset, tmp_path / launcher)
    for launcher in ("accelerate", "deepspeed"):
        for name in ("train/loss", "train/grad_norm"):
            assert logged(tmp_path / launcher, name) == logged(tmp_path / "torchrun", name)


class Training:
    """Training in a process of its own, at the head of the processes that it launches."""

    CODE = """
import sys
from pathlib import Path
from rich.console import Console
from selectit.config import FinetuneStage
from selectit.errors import Preempted
from selectit.finetune import stage
from selectit.tracking import Tracker

config, subset, out = sys.argv[1:]
try:
    tracker = Tracker(Path(out), Console())
    stage.run(FinetuneStage.model_validate_json(config), {"subset": Path(subset)}, Path(out), tracker)
except Preempted:
    sys.exit(75)
"""

    def __init__(self, config: FinetuneStage, subset: Path, out: Path) -> None:
        out.mkdir(exist_ok=True)
        command = [sys.executable, "-c", self.CODE, config.model_dump_json(), str(subset), str(out)]
        self.out = out
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for(self, path: str) -> None:
        while not (self.out / path).exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.02)

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


def kill_after_checkpoint(step: int, config: FinetuneStage, subset: Path, out: Path) -> None:
    training = Training(config, subset, out)
    training.wait_for(f"checkpoints/checkpoint-{step}/{CHECKPOINT_RECORD}")
    for process in training.family():
        process.kill()
    training.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize(
    ("num_processes", "deepspeed"), [(2, "none"), (2, "zero2"), (2, "zero3"), (1, "zero2"), (1, "zero3")]
)
def test_processes_train_to_the_weights_of_one_and_go_on_after_a_kill(
    num_processes, deepspeed, method, config, subset, tiny_llama, tmp_path
):
    settings = {"launcher": "torchrun", "num_processes": num_processes, "deepspeed": deepspeed, "save_steps": 1}
    launched = config(method, num_train_epochs=6, gradient_checkpointing=True, **settings)
    train(config(method, num_train_epochs=6), subset, tmp_path / "one")
    train(launched, subset, tmp_path / "whole")
    assert_same_training(tmp_path / "whole", tmp_path / "one", tiny_llama)

    killed = tmp_path / "killed"
    kill_after_checkpoint(4, launched, subset, killed)
    assert not (killed / "training.json").exists()
    train(launched, subset, killed)
    for name in ("train/loss", "train/grad_norm", "train/learning_rate", "train/tokens"):
        assert logged(killed, name) == logged(tmp_path / "whole", name)
    weights = {"lora": "adapter/adapter_model.safetensors", "full": "model/model.safetensors"}[method]
    assert (killed / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.slow
def test_without_zero_another_number_of_processes_resumes(config, subset, tmp_path):
    train(config(num_train_epochs=6), subset, tmp_path / "one")
    kill_after_checkpoint(4, config(num_train_epochs=6, save_steps=1, **TWO), subset, tmp_path / "changed")
    assert not (tmp_path / "changed" / "training.json").exists()
    train(config(num_train_epochs=6), subset, tmp_path / "changed")
    assert logged(tmp_path / "changed") == pytest.approx(logged(tmp_path / "one"), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("deepspeed", ["none", "zero3"])
def test_sigterm_saves_the_step_of_every_process(deepspeed, config, subset, tmp_path):
    settings = config(num_train_epochs=20, deepspeed=deepspeed, **TWO)
    training = Training(settings, subset, tmp_path / "out")
    training.wait_for("metrics.jsonl")
    training.process.send_signal(signal.SIGTERM)
    output, _ = training.process.communicate(timeout=240)
    assert training.process.returncode == 75, output
    [checkpoint] = (tmp_path / "out" / "checkpoints").iterdir()
    record = json.loads((checkpoint / CHECKPOINT_RECORD).read_text())
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(record["files"])
    train(settings, subset, tmp_path / "out")
    train(config(num_train_epochs=20), subset, tmp_path / "one")
    assert logged(tmp_path / "out")[:20] == pytest.approx(logged(tmp_path / "one")[:20], rel=1e-4)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_every_process_with_step_and_rows(config, subset, tmp_path):
    diverging = config("full", **TWO, learning_rate=1e38, lr_scheduler_type="constant")
    with pytest.raises(UserError, match=r"training step 2: .*Rows of that batch: row-\d+, row-\d+.*learning_rate"):
        train(diverging, subset, tmp_path / "out")
    for rank in (0, 1):
        assert "UserError: training step 2: " in (tmp_path / "out" / "logs" / f"rank{rank}.log").read_text()


@pytest.mark.slow
def test_a_process_that_is_killed_is_named_with_the_end_of_its_log(config, subset, tmp_path):
    training = Training(config(num_train_epochs=400, **TWO), subset, tmp_path / "out")
    training.wait_for("metrics.jsonl")
    ending = json.loads((tmp_path / "out" / ".launch" / "rank1.json").read_text())
    os.kill(ending["pid"], signal.SIGKILL)
    output, _ = training.process.communicate(timeout=120)
    assert "training process 1 of 2 was killed, most likely for memory" in output


@pytest.mark.slow
def test_processes_end_with_the_command_that_started_them(config, subset, tmp_path):
    training = Training(config(num_train_epochs=4000, **TWO), subset, tmp_path / "out")
    training.wait_for("metrics.jsonl")
    family = training.family()
    training.process.kill()
    training.process.wait()
    gone, alive = psutil.wait_procs(family, timeout=60)
    assert not alive and len(gone) >= 4  # the command, its launcher and two processes


@pytest.mark.slow
def test_a_training_that_is_started_by_hand_is_reused(config, subset, tmp_path):
    from selectit.errors import NotRun

    external, out = config(launcher="external", num_processes=2), tmp_path / "out"
    with pytest.raises(NotRun, match=r"torchrun --nnodes=1 --nproc-per-node=2 .*train_config.json"):
        train(external, subset, out)
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "selectit.finetune.train"]
    done = subprocess.run([sys.executable, "-m", *command, str(out / "train_config.json")], cwd=ROOT)
    assert done.returncode == 0
    assert train(external, subset, out)["num_processes"] == 2


def test_what_a_machine_cannot_start_is_refused_with_the_cure(config, monkeypatch):
    from selectit.finetune import launch

    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(
        UserError, match=r"num_processes is 2 and this machine offers 1 GPUs \(CUDA_VISIBLE_DEVICES=3\)"
    ):
        launch.check_machine(config(**TWO).finetune)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    for settings in ({"launcher": "deepspeed"}, {"launcher": "torchrun", "deepspeed": "zero2"}):
        with pytest.raises(UserError, match=r"needs the package deepspeed.*pip install .*\[deepspeed\]"):
            launch.check_machine(config(**settings).finetune)


def test_a_stop_is_noticed_from_a_signal_and_from_a_file(tmp_path):
    from selectit.finetune.preemption import StopRequest

    stop = StopRequest(tmp_path / "stop")
    assert not stop.is_made
    (tmp_path / "stop").touch()
    assert stop.is_made
    signalled = StopRequest()
    before = signal.getsignal(signal.SIGTERM)
    with signalled.listening():
        signal.raise_signal(signal.SIGTERM)
    assert signalled.is_made and signal.getsignal(signal.SIGTERM) is before
    assert not issubclass(Preempted, Exception)


def test_notes_progress_and_metrics_of_another_process_reach_console_and_wandb(tmp_path):
    sent, events = [], tmp_path / "events.jsonl"

    class Run:
        def log(self, metrics: dict[str, Any]) -> None:
            sent.append(metrics)

    console = Console(file=io.StringIO())
    with ExitStack() as stack:
        reader = EventReader(events, Tracker(tmp_path, console, Run()), stack)
        reader.show_new()  # before the other process has begun
        (tmp_path / "other").mkdir()
        other = EventTracker(tmp_path / "other", events)
        other.note("fine-tune: resuming after step 2")
        with other.progress("fine-tune", 5) as advance:
            advance(2)
        other.log({"train/loss": 1.5}, step=3)
        with events.open("a") as f:
            f.write('{"metrics": {"train/lo')  # a line that is still being written
        reader.show_new()
        reader.show_new()
    assert sent == [{"train/loss": 1.5, "stage_step": 3}]
    assert console.file.getvalue().count("resuming after step 2") == 1
    assert logged_lines(tmp_path / "other") == [(3, 1.5)] and not (tmp_path / "metrics.jsonl").exists()


def logged_lines(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["train/loss"]) for line in lines]
