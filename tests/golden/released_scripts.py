"""The prompts and items of SelectIT's released evaluation scripts, written once more and independently of the project.

Written from a description of the scripts, in their order and with the standard library; reads the authors' files as
they are published. The tests compare every prompt with the project's, byte for byte.
"""

import csv
import hashlib
import io
import json
import random
from pathlib import Path

import lm_eval.tasks
import yaml

STOCK = Path(lm_eval.tasks.__file__).parent
BBH_SHA256 = json.loads((Path(__file__).parent / "bbh_prompts_sha256.json").read_text())


class _Names(yaml.SafeLoader):
    pass


_Names.add_constructor("!function", lambda loader, node: None)


def _stock(path):
    return yaml.load((STOCK / path).read_text(encoding="utf-8"), Loader=_Names)


def gsm8k(data, seed=42, size=200):
    """[(place in the file, prompt)] in the order of the script."""
    rows = [json.loads(line) for line in (data / "gsm8k" / "test.jsonl").read_text().splitlines()]
    random.seed(seed)
    chosen = random.sample(list(enumerate(rows)), size)
    prefix = "Answer the following questions.\n\n"
    for one in _stock("gsm8k/gsm8k-cot.yaml")["fewshot_config"]["samples"]:
        words = one["target"].split("The answer is")
        assert len(words) == 2
        prefix += "Question: " + one["question"] + "\nAnswer: " + words[0] + "So the answer is" + words[1] + "\n\n"
    return [(place, prefix + "Question: " + row["question"].strip() + "\nAnswer:") for place, row in chosen]


def bbh_file(task):
    """cot-prompts/<task>.txt without its first two lines, stripped; its sha256 is that of a copy of the file."""
    stock = _stock(f"bbh/cot_fewshot/{task}.yaml")
    text = stock["description"]
    for shot in stock["fewshot_config"]["samples"]:
        text += "Q: " + shot["input"] + "\nA: Let's think step by step.\n" + shot["target"] + "\n\n"
    if task == "sports_understanding":
        text = text.replace("step by step.\n", "step by step. ")
    text = text.strip()
    assert hashlib.sha256(text.encode()).hexdigest() == BBH_SHA256[task], task
    return text


def bbh(data, tasks, seed=42, size=40):
    """{task: [(place, prompt)]}."""
    random.seed(seed)
    chosen = {}
    for task in sorted(tasks):
        rows = json.loads((data / "bbh" / f"{task}.json").read_text())["examples"]
        chosen[task] = random.sample(list(enumerate(rows)), size)
    return {
        task: [(place, bbh_file(task) + "\n\nQ: " + row["input"] + "\nA:") for place, row in rows]
        for task, rows in chosen.items()
    }


def mmlu(data, subject, num_tokens, most=2048):
    """[(prompt, number of its demonstrations)] of a subject's test file. Args: num_tokens: of a text."""
    dev, test = (
        list(csv.reader(io.StringIO((data / "mmlu" / split / f"{subject}_{split}.csv").read_bytes().decode())))[1:]
        for split in ("dev", "test")
    )
    header = "The following are multiple choice questions (with answers) about "
    for word in subject.split("_"):
        header += " " + word
    header += ".\n\n"

    def block(cells):
        a, b, c, d = cells[1:5]
        return cells[0] + "\nA. " + a + "\nB. " + b + "\nC. " + c + "\nD. " + d + "\nAnswer:"

    found = []
    for cells in test:
        for k in (5, 4, 3, 2, 1, 0):
            prompt = header
            for shot in dev[:k]:
                prompt += block(shot) + " " + "ABCD"[int(shot[5])] + "\n\n"
            prompt += block(cells)
            if num_tokens(prompt) <= most:
                break
        found.append((prompt, k))
    return found


def tydiqa(folder, words, encode, decode, seed=42, size=100, most=512):
    """{language: [(id, prompt)]}. Args: words: by language; encode: with special tokens; decode: keeps them."""

    def rows(name):
        for article in json.loads((folder / f"tydiqa-goldp-v1.1-{name}.json").read_text())["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    context = paragraph["context"]
                    ids = encode(context)
                    if len(ids) > most:
                        context = decode(ids[:most])
                    answers = [answer["text"] for answer in question["answers"]]
                    yield question["id"], question["id"].split("-")[0], context, question["question"], answers

    random.seed(seed)
    asked, shown = list(rows("dev")), list(rows("train"))
    languages = sorted({row[1] for row in asked})
    chosen, shot = {}, {}
    for language in languages:
        own = [row for row in asked if row[1] == language]
        chosen[language] = random.sample(own, size) if len(own) > size else own
    for language in languages:
        (shot[language],) = random.sample([row for row in shown if row[1] == language], 1)
    prompts = {}
    for language in languages:
        one = words[language]
        p, q, a = one["passage"], one["question"], one["answer"]
        _, _, context, question, answers = shot[language]
        head = one["instruction"] + "\n\n" + p + " " + context + "\n" + q + " " + question + "\n" + a + " " + answers[0]
        prompts[language] = [
            (row[0], head + "\n\n" + p + " " + row[2] + "\n" + q + " " + row[3] + "\n" + a) for row in chosen[language]
        ]
    return prompts
