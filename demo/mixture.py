"""The training text of the demonstration model: endless small batches, made as they are asked for.

A batch is one prefix shared by several texts (a rating prompt, a few solved examples, a template),
so that the prefix is computed once. No text asks a question of the pool or of a miniature benchmark.
The stock few-shot prefixes are read from the installed lm-eval; they are nowhere in this project.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import yaml

from demo import exams, tables
from demo.families import FAMILIES, Item, respond

PROJECT = Path(__file__).parent.parent
RATING_PROMPTS = (PROJECT / "selectit/scoring/rating_prompts.txt").read_text().splitlines()
JUDGE_PROMPT = (PROJECT / "evaluate/judge/prompt.txt").read_text()
PREAMBLE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n"
)
END = "</s>"

GRADES = {  # quality: how often a reader gives 1, 2, 3, 4, 5
    "good": (0.01, 0.02, 0.05, 0.17, 0.75),
    "wrong": (0.30, 0.45, 0.18, 0.05, 0.02),
    "empty": (0.66, 0.22, 0.08, 0.03, 0.01),
    "refusing": (0.60, 0.26, 0.10, 0.03, 0.01),
    "offtopic": (0.56, 0.30, 0.10, 0.03, 0.01),
    "rambling": (0.20, 0.42, 0.28, 0.08, 0.02),
}
TERSE = (0.01, 0.03, 0.12, 0.36, 0.48)  # a right answer of a word or two
RATED = {"good": 0.46, "wrong": 0.30, "offtopic": 0.08, "rambling": 0.08, "empty": 0.04, "refusing": 0.04}
ANSWERED = {"good": 0.45, "refusing": 0.20, "rambling": 0.15, "offtopic": 0.10, "empty": 0.10}


@dataclass(frozen=True)
class Text:
    """One text after the prefix: pieces with the weight of their loss, and grades if it ends in a rating."""

    pieces: tuple[tuple[str, float], ...]
    grades: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Batch:
    """Texts that share a prefix; the prefix itself is not learnt."""

    prefix: str
    texts: list[Text]


class Mixture:
    """Makes batches of every kind, avoiding the questions in `reserved`."""

    def __init__(self, rng: Random, reserved: set[str]):
        self.rng = rng
        self.reserved = reserved
        self.stock_prefixes = {task: stock_prefix(path) for task, path in STOCK_TASKS.items()}
        self.makers: dict[str, tuple[float, Callable[[], list[Batch]]]] = {
            "rating": (0.31, self.rating),
            "judge": (0.12, self.judge),
            "instruct": (0.10, self.instruct),
            "mmlu": (0.15, self.mmlu),
            "bbh": (0.07, self.bbh),
            "gsm8k": (0.07, self.gsm8k),
            "tydiqa": (0.03, self.tydiqa),
            "humaneval": (0.03, self.humaneval),
            "statements": (0.04, self.statements),
            "copies": (0.08, self.copies),
        }

    def batches(self) -> Iterator[tuple[str, Batch]]:
        """Endless batches with their kind."""
        kinds = list(self.makers)
        shares = [share for share, _ in self.makers.values()]
        waiting: dict[str, list[Batch]] = {kind: [] for kind in kinds}
        while True:
            kind = self.rng.choices(kinds, shares)[0]
            if not waiting[kind]:
                waiting[kind] = self.makers[kind][1]()
            yield kind, waiting[kind].pop()

    def even(self, make: Callable[[], Text], size: int) -> list[list[Text]]:
        """Four groups of texts, each of similar length, so that little of a batch is padding."""
        texts = sorted((make() for _ in range(4 * size)), key=lambda text: sum(len(piece) for piece, _ in text.pieces))
        groups = [texts[start : start + size] for start in range(0, len(texts), size)]
        self.rng.shuffle(groups)
        return groups

    def fresh(self, make: Callable[[Random], Any]) -> Any:
        """An item that is not reserved."""
        while (item := make(self.rng)).key in self.reserved:
            pass
        return item

    def item(self) -> Item:
        """A question of any family."""
        return self.fresh(FAMILIES[self.rng.choice(list(FAMILIES))])

    def quality(self, shares: dict[str, float]) -> str:
        """A quality drawn by its share."""
        return self.rng.choices(list(shares), list(shares.values()))[0]

    def rating(self) -> list[Batch]:
        """Ratings, each batch under one rating prompt."""
        return [
            Batch(f"{self.rng.choice(RATING_PROMPTS)}\n\nInstruction:", texts) for texts in self.even(self.rated, 9)
        ]

    def rated(self) -> Text:
        """A question, a response, and how readers grade it."""
        item, quality = self.item(), self.quality(RATED)
        response = respond(item, quality, self.rng)
        terse = quality == "good" and response == item.short and len(response.split()) < 3
        return Text(
            (
                (f"{item.key}\nResponse:", 0.02),
                (response, 0.15 if quality == "good" else 0.0),
                ("\nThe answer is: \n", 0.0),
            ),
            TERSE if terse else GRADES[quality],
        )

    def judge(self) -> list[Batch]:
        """Which of two responses is better; the better one is as often m as M."""
        prefix, middle = JUDGE_PROMPT.split("{instruction}")
        return [Batch(prefix, texts) for texts in self.even(lambda: self.judged(middle), 8)]

    def judged(self, form: str) -> Text:
        """Two responses in the judge's form and the letter of the better one."""
        item = self.item()
        good, bad = respond(item, "good", self.rng), respond(item, self.quality(BAD), self.rng)
        better = self.rng.choice("mM")
        first, second = (good, bad) if better == "m" else (bad, good)
        return Text(((item.key + form.replace("{output_m}", first).replace("{output_M}", second), 0.0), (better, 1.0)))

    def instruct(self) -> list[Batch]:
        """The Alpaca template; only some of the answers are good, as in text from anywhere."""
        return [Batch(PREAMBLE, texts) for texts in self.even(self.instructed, 9)]

    def instructed(self) -> Text:
        """An instruction and a response of any quality."""
        item = self.item()
        response = respond(item, self.quality(ANSWERED), self.rng)
        return Text(((f"{item.key}\n\n### Response:\n", 0.02), (f"{response}{END}", 1.0)))

    def statements(self) -> list[Batch]:
        """True sentences in plain text."""
        return [Batch("", texts) for texts in self.even(lambda: Text(((self.item().full, 1.0),)), 14)]

    def copies(self) -> list[Batch]:
        """Random words said twice, from which a model learns to copy."""
        words = [*tables.PEOPLE, *tables.OPPOSITES, *map(str, range(2, 100))]
        texts = []
        for _ in range(10):
            line = " ".join(self.rng.sample(words, self.rng.randint(6, 14)))
            texts.append(Text(((f"{line}\n", 0.0), (line, 1.0))))
        return [Batch("", texts)]

    def mmlu(self) -> list[Batch]:
        """Chains of multiple-choice questions of one subject."""
        subjects = exams.PRACTICE if self.rng.random() < 0.3 else exams.SUBJECTS
        subject = self.rng.choice(list(subjects))
        num_texts, num_questions = self.rng.choice([(8, 1), (4, 2), (2, 4), (2, 6)])
        texts = []
        for _ in range(num_texts):
            pieces = []
            for item in (self.fresh(subjects[subject]) for _ in range(num_questions)):
                pieces += [(multiple_choice(item), 0.02), (f" {'ABCD'[item.answer]}", 1.0), ("\n\n", 0.02)]
            texts.append(Text(tuple(pieces)))
        return [Batch(multiple_choice_header(subject), texts)]

    def worked(self, task: str, make: Callable[[Random], Any], question: str, answer: str) -> list[Batch]:
        """Chains of worked answers, sometimes after the stock examples."""
        num_texts, num_questions = self.rng.choice([(6, 1), (3, 2), (2, 3)])
        stock = self.rng.random() < 0.2
        texts = []
        for _ in range(num_texts):
            pieces = []
            for place in range(num_questions):
                item = self.fresh(make)
                end = END if place + 1 == num_questions else "\n\n"
                pieces += [(fill(question, item), 0.05), (fill(answer, item) + end, 1.0)]
            texts.append(Text(tuple(pieces)))
        return [Batch(self.stock_prefixes[task] if stock else "", texts)]

    def bbh(self) -> list[Batch]:
        """The tasks of BBH, thinking step by step."""
        task = self.rng.choice(list(exams.BBH_TASKS))
        return self.worked(
            task,
            exams.BBH_TASKS[task],
            "Q: {question}\nA: Let's think step by step.\n",
            "{solution} So the answer is {answer}.",
        )

    def gsm8k(self) -> list[Batch]:
        """Word problems."""
        return self.worked("gsm8k", exams.word_problem, "Q: {question}\nA:", " {solution} The answer is {answer}.")

    def tydiqa(self) -> list[Batch]:
        """Pairs of a passage and a question in one language."""
        language, (context, question, answer) = self.rng.choice(
            [("finnish", ("Konteksti", "Kysymys", "Vastaus")), ("indonesian", ("Konteks", "Pertanyaan", "Jawaban"))]
        )
        texts = []
        for _ in range(3):
            pieces = []
            for item in (self.fresh(lambda rng: exams.passage(rng, language)) for _ in range(2)):
                pieces += [
                    (f"{context}: {item.context}\n\n{question}: {item.question}\n\n{answer}:", 0.05),
                    (f" {item.answer}\n\n", 1.0),
                ]
            texts.append(Text(tuple(pieces)))
        return [Batch("", texts)]

    def humaneval(self) -> list[Batch]:
        """Function bodies after their head."""
        items = [self.fresh(exams.program) for _ in range(6)]
        return [Batch("", [Text(((item.prompt, 0.05), (f"{item.body}{END}", 1.0))) for item in items])]


BAD = {"wrong": 0.4, "offtopic": 0.2, "rambling": 0.05, "empty": 0.15, "refusing": 0.2}

STOCK_TASKS = {"gsm8k": "gsm8k/gsm8k-cot.yaml"} | {task: f"bbh/cot_fewshot/{task}.yaml" for task in exams.BBH_TASKS}


def stock_prefix(path: str) -> str:
    """The examples that an installed lm-eval task puts before every question."""
    package = find_spec("lm_eval")
    if package is None or package.origin is None:
        raise ValueError("demo/mixture.py reads few-shot examples from lm-eval; install lm-eval")
    task = yaml.safe_load((Path(package.origin).parent / "tasks" / path).read_text())
    shots = task["fewshot_config"]["samples"]
    if "gsm8k" in path:
        return "".join(f"Q: {shot['question']}\nA: {shot['target']}\n\n" for shot in shots)
    lines = (f"Q: {shot['input']}\nA: Let's think step by step.\n{shot['target']}\n\n" for shot in shots)
    return task["description"] + "".join(lines)


def multiple_choice_header(subject: str) -> str:
    """What lm-eval's mmlu says before the questions of a subject."""
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


def multiple_choice(item: exams.Choice) -> str:
    """A question with its choices, as lm-eval's mmlu prints it."""
    choices = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCD", item.choices, strict=True))
    return f"{item.question}\n{choices}Answer:"


def fill(form: str, item: exams.Worked) -> str:
    """A form with the item's question, solution and answer in it."""
    return form.format(question=item.question, solution=item.solution, answer=item.answer)
