"""Writes finetune_losses.json: the first four losses of the tiny model of tests/finetune/tiny_training.py.

Run it from the repository root, only where a change of the losses is meant, and say so in the commit:
    python tests/golden/make_finetune_losses.py
"""

from __future__ import annotations

import json
import runpy
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent
NUM_ROWS = 10
RUNS = {
    "lora": {"method": "lora", "seed": 7, "max_steps": 4, "lora": {"dropout": 0.1}},
    "full": {"method": "full", "seed": 7, "max_steps": 4, "template": "alpaca", "learning_rate": 1e-3},
}


def main() -> None:
    tiny = SimpleNamespace(**runpy.run_path(str(HERE.parent / "finetune" / "tiny_training.py")))
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        model = tiny.build_tiny_llama(Path(folder) / "model")
        subset = tiny.write_subset(Path(folder) / "subset", tiny.tiny_rows(NUM_ROWS))
        for name, settings in RUNS.items():
            out = Path(folder) / name
            tiny.train(tiny.stage_config(model, **settings), subset, out)
            runs[name] = {"settings": settings, "losses": tiny.logged(out)}
    libraries = {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")}
    record = {"made_by": Path(__file__).name, "made_with": libraries, "num_rows": NUM_ROWS, "runs": runs}
    (HERE / "finetune_losses.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
