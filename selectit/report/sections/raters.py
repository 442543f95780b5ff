"""Health of the scoring: mass on the rating tokens, truncation, failures, unscored rows, and whose prompts were used.

Reads score.json and verification.json of the score artifacts, the rating-prompt files that the recipe names,
and the judge that the results name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from selectit.config import DEFAULT_RATING_PROMPTS, NeedsRatings, ScoreStage
from selectit.plan.graph import Plan, Stage
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.section import Bullets, Listing, Paragraph, Part, Section
from selectit.report.tables.results import UNTOUCHED, Result, rows_text
from selectit.report.tables.subsets import Subset, selection_of
from selectit.scoring.notes import answers_alike
from selectit.store.names import SCORE_RECORD, VERIFICATION

MOST_UNSCORED_SHOWN = 20
OWN_JUDGE_PROMPT = "prompt.txt"


MASS = (
    "One line per rater and pool. The mass is what the rater gives to the five rating tokens together: near 1, it "
    "answers with a rating."
)


def scoring(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Section:
    listing = _ledgers(plan, outcomes)
    nothing = Paragraph("No arm is selected by SelectIT, so nothing was rated.")
    parts = (Paragraph(MASS), listing) if listing.rows else (nothing,)
    return Section("Scoring and prompts", parts, anchor="scoring")


def prompts(plan: Plan, results: Sequence[Result]) -> Section | None:
    sentences = [*_rating_prompts(plan), *_judge_prompts(plan, results)]
    return Section("Sources of the prompts", (Bullets(sentences, style="identifiers"),)) if sentences else None


def _ledgers(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Listing:
    columns = (
        "rater", "pool", "used by", "text", "rating prompts", "rows", "ratings", "mean mass on 1 to 5", "truncated",
        "failures", "against float32",
    )  # fmt: skip
    rows = []
    for stage in plan.stages:
        if not isinstance(config := stage.config, ScoreStage):
            continue
        name = (Path(config.model.path).name, Path(config.pool.path).name, rows_text(plan, readers(plan, stage)))
        outcome = outcomes.get(stage, UNTOUCHED)
        if outcome.artifact is None:
            kind = "failed" if outcome.failed else "not run"
            rows.append((*name, f"{kind}: {formats.one_line(outcome.reason)}", *[formats.ABSENT] * 7))
            continue
        summary = json.loads((outcome.artifact.path / SCORE_RECORD).read_text(encoding="utf-8"))
        rows.append(
            (
                *name, _text_form(summary), str(len(summary["prompts"])),
                formats.count(summary["num_rows"]), formats.count(summary["num_ratings"]),
                f"{summary['mean_mass']:.3f}", formats.count(summary["num_truncated"]), failures_text(summary),
                _verification(outcome.artifact.path, summary["dtype"]),
            )
        )  # fmt: skip
    return Listing(columns, tuple(rows), num_text_columns=4, title="Raters and pools")


def _text_form(summary: Mapping[str, Any]) -> str:
    """How a text was read, where it is not the released code's text of the first answer with the ids of its rating."""
    return ", ".join(
        [
            "chat format" if summary["template"] == "chat" else "as released",
            *(
                [f"{summary['turns']} of {formats.count(summary['num_answers'])} answers"]
                if summary["turns"] == "mean"
                else []
            ),
            *(["last answer"] if summary["turns"] == "last" else []),
            *(["read one at a time"] if summary["reads_alone"] else []),
            *(["whitespace before a digit is tokenized differently"] if summary["text_alone"] else []),
            *(["answers every row alike: no information about the rows"] if answers_alike(summary) else []),
        ]
    )


def _verification(folder: Path, dtype: str) -> str:
    """What `selectit score --verify` found of these ratings, which are in `dtype`."""
    if not (folder / VERIFICATION).is_file():
        return f"{dtype}, not verified"
    found = json.loads((folder / VERIFICATION).read_text(encoding="utf-8"))
    return (
        f"{found['dtype']}, {formats.count(found['num_rows'])} rows rated again: scores differ by "
        f"{found['max_sentence_score_difference']:.1e} at most, {'within' if found['agrees'] else 'beyond'} "
        f"{found['tolerance']:g}; rank correlation "
        f"{found['rank_correlation']:.4f}, the best {found['ratio']:.0%} overlap {found['subset_overlap']:.1%}"
    )


def readers(plan: Plan, stage: Stage) -> list[str]:
    """Labels of the rows whose own selection reads a score stage."""
    selections = {row.label: [s for cell in row.cells if (s := selection_of(cell))] for row in plan.rows}
    return [label for label, found in selections.items() if any(stage in dict(s.inputs).values() for s in found)]


def failures_text(summary: Mapping[str, Any]) -> str:
    codes = ", ".join(f"{code} {count}" for code, count in summary["failures"].items())
    return f"{summary['num_failures']} ({codes})" if codes else str(summary["num_failures"])


def unscored(plan: Plan, subsets: Sequence[Subset]) -> Section | None:
    """Rows of the pool that could not be selected, by the arms for which they could not."""
    users: dict[tuple[tuple[str, str], ...], dict[str, None]] = {}
    for subset in subsets:
        if subset.failures:
            users.setdefault(subset.failures, {})[subset.row.label] = None
    parts: list[Part] = []
    for failures, rows in users.items():
        number = f"{len(failures)} {'row' if len(failures) == 1 else 'rows'}"
        parts += [Paragraph(f"{number} ({rows_text(plan, rows)}); never selected:")]
        lines = [f"{row_id}: {failure.replace('_', ' ')}" for row_id, failure in failures[:MOST_UNSCORED_SHOWN]]
        more = [f"and {len(failures) - len(lines)} more"] if len(failures) > len(lines) else []
        parts += [Bullets([*lines, *more], style="notes identifiers")]
    return Section("Rows that could not be selected", parts) if parts else None


def _rating_prompts(plan: Plan) -> list[str]:
    """One sentence per rating-prompt file: own wording, or a named file with its sha256."""
    users: dict[str, dict[str, None]] = {}
    for row in plan.rows:
        is_rated = any(isinstance(need, NeedsRatings) for need in row.config.select.all_needs())
        if is_rated and trains(row.config.finetune):
            users.setdefault(row.config.score.rating_prompts, {})[row.label] = None
    sentences = []
    for location, rows in users.items():
        of = f"Rating prompts of {rows_text(plan, rows)}"
        if location == DEFAULT_RATING_PROMPTS:
            content = (files("selectit.scoring") / "rating_prompts.txt").read_bytes()
            source = "this project's own wording, not that of the SelectIT paper (selectit/scoring/rating_prompts.txt"
            sentences.append(f"{of}: {source}, sha256 {hashlib.sha256(content).hexdigest()}).")
        else:
            path = Path(location)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "not known: the file is gone"
            sentences.append(f"{of}: the file {path.name}, sha256 {sha256}.")
    return sentences


def _judge_prompts(plan: Plan, results: Sequence[Result]) -> list[str]:
    """One sentence per judge: who, whether the prompt is this project's own, what its answers cost, how many lack."""
    own = hashlib.sha256((files("selectit.evaluate.judge") / OWN_JUDGE_PROMPT).read_bytes()).hexdigest()
    users: dict[tuple[str, str], dict[str, None]] = {}
    usd: dict[tuple[str, str], dict[Path, float]] = {}
    left_out: dict[tuple[str, str], dict[Path, tuple[int, int]]] = {}
    for result in results:
        if (judge := result.record.get("judge")) and result.artifact is not None:
            key = result.cell.benchmark, json.dumps(judge)
            users.setdefault(key, {})[result.row.label] = None
            usage = result.record.get("judge_usage") or {}
            if missing := usage.get("num_refused", 0) + usage.get("num_unreadable", 0):
                left_out.setdefault(key, {})[result.artifact.path] = missing, usage["num_comparisons"]
            cost = usage.get("usd")
            if cost is not None:
                usd.setdefault(key, {})[result.artifact.path] = cost  # rows that share a result paid once
    sentences = []
    for key, rows in users.items():
        judge = json.loads(key[1])
        prompt = judge.get("prompt_sha256")
        source = (
            f"this project's own wording (evaluate/judge/{OWN_JUDGE_PROMPT})" if prompt == own else "not this project's"
        )
        reference = judge.get("reference_sha256")
        length = f"; df_gamed.csv sha256 {judge['df_gamed_sha256']}" if "df_gamed_sha256" in judge else ""
        paid = f"; its answers cost {sum(usd[key].values()):.2f} USD" if key in usd else ""
        lacking = ""
        if key in left_out:
            missing, asked = (sum(numbers) for numbers in zip(*left_out[key].values(), strict=True))
            lacking = (
                f"; {missing} of {asked} judgements were refused or unreadable (max_missing {judge['max_missing']})"
            )
        sentences.append(
            f"Judge of {key[0]} ({rows_text(plan, rows)}): {_judge_name(judge)}; judge prompt: "
            f"{source}, sha256 {prompt}{f'; reference answers sha256 {reference}' if reference else ''}{length}{paid}"
            f"{lacking}."
        )
    return sentences


def _judge_name(judge: Mapping[str, str]) -> str:
    if "endpoint" not in judge:
        return Path(str(judge.get("name"))).name
    answered = f", which answered as {judge['answered_by']}" if "answered_by" in judge else ""
    return f"{judge['name']} at {judge['endpoint']}{answered}, verdict by {judge['verdict']}"
