"""Scores translations with COMET. Runs as `python -c` in the Python of evaluate.comet_python, which has other packages
than this project's and may be an older Python; no other module imports it.

Arguments: a JSON file {model, rows: [{src, mt, ref}]}, and one to write: {version, scores}. Without rows only what is
needed is looked for: COMET, and the model's files.
"""

import json
import sys
from importlib.metadata import version

from comet import download_model, load_from_checkpoint


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        order = json.load(f)
    checkpoint = download_model(order["model"])
    scores = []
    if order["rows"]:
        import torch

        model = load_from_checkpoint(checkpoint)
        found = model.predict(order["rows"], batch_size=16, gpus=int(torch.cuda.is_available()), progress_bar=False)
        scores = [float(score) for score in found.scores]
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump({"version": version("unbabel-comet"), "scores": scores}, f)


if __name__ == "__main__":
    main()
