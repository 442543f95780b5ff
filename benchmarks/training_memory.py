"""The memory estimate of a training against what a process took: peak resident memory over that before the model.

    python benchmarks/training_memory.py                       (all settings, one process after the other; a CPU)
    python benchmarks/training_memory.py --only lora
    python benchmarks/training_memory.py --model FOLDER --micro-batch-size 8 --length 1024 --json '{"method": "lora"}'

Each setting trains a model of random weights for two steps on rows of one length. docs/cluster.md holds what was
measured.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SHAPE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 6, "num_attention_heads": 8}
PLAIN: dict[str, Any] = {"gradient_checkpointing": False}
SAVED: dict[str, Any] = {"gradient_checkpointing": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"finetune": {"method": "lora", **PLAIN}},
    "lora, checkpointing": {"finetune": {"method": "lora", **SAVED}, "micro_batch_size": 8},
    "lora, dropout 0": {"finetune": {"method": "lora", "lora": {"dropout": 0.0}, **PLAIN}},
    "lora, packing": {"finetune": {"method": "lora", "packing": True, **PLAIN}},
    "lora, vocabulary of 128,000": {"finetune": {"method": "lora", **PLAIN}, "shape": {"vocab_size": 128_000}},
    "lora, vocabulary of 128,000, checkpointing": {
        "finetune": {"method": "lora", **SAVED}, "shape": {"vocab_size": 128_000}, "micro_batch_size": 8,
    },
    "lora, 2 heads of keys for 8 of queries": {
        "finetune": {"method": "lora", **PLAIN}, "shape": {"num_key_value_heads": 2},
    },
    "full": {"finetune": {"method": "full", **PLAIN}},
    "full, checkpointing": {"finetune": {"method": "full", **SAVED}, "micro_batch_size": 8},
    "full, adafactor": {"finetune": {"method": "full", "optimizer": "adafactor", **SAVED}, "micro_batch_size": 2},
    "full, long rows, checkpointing": {
        "finetune": {"method": "full", **SAVED}, "micro_batch_size": 2, "length": 2048,
    },
    "lora, bfloat16": {"finetune": {"method": "lora", **PLAIN}, "dtype": "bfloat16", "micro_batch_size": 2},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="settings whose name begins so")
    parser.add_argument("--model", type=Path, help="a checkpoint folder in place of random weights")
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--json", help="one training, in the words of a recipe's finetune section")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(json.loads(arguments.child))))
        return
    settings = SETTINGS
    if arguments.json:
        settings = {"given": {"finetune": json.loads(arguments.json)}}
    for name, setting in settings.items():
        if arguments.only and not name.startswith(arguments.only):
            continue
        size = {"micro_batch_size": arguments.micro_batch_size, "length": arguments.length}
        setup = json.dumps({**size, **setting, "model": str(arguments.model) if arguments.model else None})
        done = subprocess.run([sys.executable, __file__, "--child", setup], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        ratio = found["estimate"] / found["measured"]
        print(
            f"| {name} | {found['measured'] / 2**20:,.0f} | {found['estimate'] / 2**20:,.0f} | {ratio:.2f} |"
            f"  weights {found['weights'] / 2**20:,.0f}, gradients {found['gradients'] / 2**20:,.0f}, optimizer "
            f"{found['optimizer'] / 2**20:,.0f}, activations {found['activations'] / 2**20:,.0f}",
            flush=True,
        )


def measure(setting: dict[str, Any]) -> dict[str, float]:
    """Train in this process; bytes of the peak over the memory before the model, and those of the estimate."""
    import psutil
    from rich.console import Console
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from selectit.config import FinetuneConfig, FinetuneStage, ModelConfig
    from selectit.finetune import stage
    from selectit.finetune.memory import largest_pass
    from selectit.finetune.sampler import StepOrder
    from selectit.inference.shape import bytes_per_parameter, shape_of
    from selectit.inference.training_memory import training_memory
    from selectit.tracking import Tracker

    size, length = setting["micro_batch_size"], setting["length"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = Path(setting["model"]) if setting["model"] else folder / "model"
        if not setting["model"]:
            shape = {"vocab_size": 32_000, "max_position_embeddings": 4096, **SHAPE, **setting.get("shape", {})}
            LlamaForCausalLM(LlamaConfig(bos_token_id=1, eos_token_id=2, **shape)).save_pretrained(model)
            _tokenizer(PreTrainedTokenizerFast).save_pretrained(model)
        finetune = FinetuneConfig(
            **{
                "template": "alpaca", "global_batch_size": size, "micro_batch_size": size, "max_length": length,
                "max_steps": 2, "budget": "steps", "max_truncated_share": 1.0, "warmup_ratio": 0.0,
                **setting["finetune"],
            }
        )  # fmt: skip
        config = FinetuneStage(
            model=ModelConfig(path=str(model), dtype=setting.get("dtype", "float32")), finetune=finetune, seed=1
        )
        (folder / "subset").mkdir()
        rows = [
            {"row_id": str(i), "messages": [
                {"role": "user", "content": "one"}, {"role": "assistant", "content": "one two " * length},
            ]}
            for i in range(2 * size)
        ]  # fmt: skip
        (folder / "subset" / "messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = folder / "out"
        out.mkdir()
        process, peak, is_over = psutil.Process(), [0], threading.Event()
        before = process.memory_info().rss

        def watch() -> None:
            while not is_over.is_set():
                peak[0] = max(peak[0], process.memory_info().rss)
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            stage.run(config, {"subset": folder / "subset"}, out, Tracker(out, Console(file=io.StringIO())))
        finally:
            is_over.set()
            watcher.join()
        order = StepOrder([length] * len(rows), finetune.global_batch_size, size, 1, finetune.packing)
        positions = largest_pass(order, finetune.packing)
        width = bytes_per_parameter(config.model, on_gpu=False)
        memory = training_memory(shape_of(config.model), finetune, width, positions, on_gpu=False)
    parts = {name: getattr(memory, name) for name in ("weights", "gradients", "optimizer", "activations")}
    return {"measured": peak[0] - before, "estimate": memory.expected, **parts}


def _tokenizer(kind: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "<s>", "</s>", "one", "two", *(f"word{i}" for i in range(1000))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return kind(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


if __name__ == "__main__":
    main()
