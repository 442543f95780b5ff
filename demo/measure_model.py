"""Measure the demonstration model as a rater, as a judge and in multiple choice; prints a line or two each.

From the project's root:
    OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 python -m demo.measure_model
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from demo import exams
from demo.make_data import make_files
from demo.mixture import RATING_PROMPTS, Mixture, multiple_choice, multiple_choice_header
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.prompts import rating_text

FOLDER = Path(__file__).parent
NUM_RATING_PROMPTS = 5
NUM_JUDGE_BATCHES = 20
NUM_CHOICES = 60  # new questions a subject


def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The demonstration model in float32, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER / "model", dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(FOLDER / "model")


def load_pool() -> tuple[list[dict], list[str]]:
    """The rows of the pool and the quality of each."""
    labels = json.loads((FOLDER / "pool_labels.json").read_text())
    return json.loads((FOLDER / "pool.json").read_text()), [label["quality"] for label in labels]


@torch.inference_mode()
def next_token(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, tokens: Sequence[str]
) -> np.ndarray:
    """Probabilities of given tokens after a text."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    probs = model(ids, logits_to_keep=1).logits[0, -1].softmax(-1)
    return probs[tokenizer.convert_tokens_to_ids(list(tokens))].double().numpy()


def rate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> np.ndarray:
    """Probabilities of "1".."5" of each row under each rating prompt.

    Returns: float64 [num_rows, NUM_RATING_PROMPTS, 5].
    """

    def rate_row(row: dict, prompt: str) -> np.ndarray:
        instruction = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        return next_token(model, tokenizer, rating_text(f"{prompt}\n\n", instruction, row["output"]), "12345")

    return np.array([[rate_row(row, prompt) for prompt in RATING_PROMPTS[:NUM_RATING_PROMPTS]] for row in rows])


def judge_accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """Share of new pairs of a good and a bad response in which the good one is preferred."""
    _, reserved = make_files()
    mixture = Mixture(Random("judge"), reserved)
    right = []
    for batch in (batch for _ in range(NUM_JUDGE_BATCHES // 4) for batch in mixture.judge()):
        for text in batch.texts:
            (question, _), (better, _) = text.pieces
            probs = next_token(model, tokenizer, batch.prefix + question, "mM")
            right.append("mM"[int(probs.argmax())] == better)
    return float(np.mean(right))


def choice_accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """Share of right answers to new multiple-choice questions, 5-shot as in MMLU; chance is 0.25."""
    _, reserved = make_files()
    mixture = Mixture(Random("choices"), reserved)
    right = []
    for subject, make in exams.SUBJECTS.items():
        for _ in range(NUM_CHOICES):
            *shots, item = [mixture.fresh(make) for _ in range(6)]
            text = multiple_choice_header(subject)
            text += "".join(f"{multiple_choice(shot)} {'ABCD'[shot.answer]}\n\n" for shot in shots)
            probs = next_token(model, tokenizer, text + multiple_choice(item), ["▁A", "▁B", "▁C", "▁D"])
            right.append(int(probs.argmax()) == item.answer)
    return float(np.mean(right))


def main() -> None:
    torch.set_num_threads(1)
    model, tokenizer = load()
    rows, qualities = load_pool()
    scores = sentence_scores(token_scores(rate(model, tokenizer, rows), "corrected"), alpha=0.2)
    best = np.argsort(-scores)[: int(0.2 * len(rows))]
    top, pool = Counter(qualities[row] for row in best), Counter(qualities)
    means = {quality: float(np.mean(scores[[q == quality for q in qualities]])) for quality in pool}
    print(f"good rows: {top['good'] / len(best):.1%} of the best 20 %, {pool['good'] / len(rows):.1%} of the pool")
    print(
        "mean score:",
        ", ".join(f"{quality} {mean:.3f}" for quality, mean in sorted(means.items(), key=lambda m: -m[1])),
    )
    lengths = np.argsort([-len(row["output"]) for row in rows])[: len(best)]
    print(f"good rows among the longest 20 %: {np.mean([qualities[row] == 'good' for row in lengths]):.1%}")
    print(f"multiple choice: {choice_accuracy(model, tokenizer):.1%} of new questions right, chance is 25 %")
    print(f"judge: the good response is preferred in {judge_accuracy(model, tokenizer):.1%} of pairs")


if __name__ == "__main__":
    main()
