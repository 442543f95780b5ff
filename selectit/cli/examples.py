"""An example of each command, which its --help ends with."""

from __future__ import annotations

import typer

EXAMPLES = {
    "run": ("run recipes/quickstart.yaml", "run my.yaml --set finetune.learning_rate=1e-5 -q"),
    "plan": ("plan my.yaml", "plan my.yaml --price --tflops 989", "plan my.yaml --json"),
    "validate": ("validate my.yaml --inputs",),
    "report": ("report my.yaml", "report my.yaml --json"),
    "inspect": ("inspect pool.json", "inspect pool.csv --columns instruction=question --columns response=answer"),
    "doctor": ("doctor",),
    "fetch": ("data fetch rating_prompt.txt", "data fetch --benchmarks gsm8k,bbh --out data"),
    "score": ("score pool.json --model org/model --out scores", "score pool.json --model org/model --estimate"),
    "select": (
        "select pool.json --model org/model --ratio 0.2 --out best.json",
        "select pool.json --strategy length --set unit=words --ratio 0.1 --out longest.json",
        "select pool.json --model org/model --as messages --out best.jsonl",
    ),
    "strategies": ("strategies", "strategies selectit", "strategies --plugin mine.py --json"),
    "finetune": ("finetune best.json --model org/model --out tuned --set num_train_epochs=2",),
    "evaluate": ("evaluate --model org/model --benchmarks gsm8k --out results",),
    "grade": ("grade --answers answers.jsonl --out graded",),
    "losses": ("losses pool.json --model org/model --out losses",),
    "verify": ("verify my.yaml", "verify runs/my"),
    "diff": ("diff runs/monday runs/tuesday",),
    "compare": ("compare runs/artifacts/evaluate-A runs/artifacts/evaluate-B",),
    "export": ("export my.yaml --out my.zip",),
    "gc": ("gc one.yaml two.yaml", "gc one.yaml --yes"),
    "merge": ("merge tuned --out merged",),
    "publish": (
        "publish tuned",
        "publish tuned --push me/my-model",
        "publish best.json --push me/my-subset",
    ),
}


def add_examples(*apps: typer.Typer) -> None:
    """Raises: KeyError for a command without one."""
    for app in apps:
        for command in app.registered_commands:
            name = command.name or str(getattr(command.callback, "__name__", ""))
            command.epilog = "\n\n".join(["Examples:", *(f"  selectit {example}" for example in EXAMPLES[name])])
