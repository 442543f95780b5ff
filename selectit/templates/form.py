"""A conversation as token ids, with the assistant's tokens known: what is trained on, and what losses are taken of.

Where a template marks the assistant's words (`{% generation %}`) they are taken from its marks, else found by rendering
the conversation up to each turn. The whole text is tokenised once; each answer ends with the token that ends a turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jinja2
import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from selectit.errors import UserError
from selectit.templates import GENERATION_MARK, OWN, chat_template
from selectit.templates.dates import fixed_date

Span = tuple[int, int]
PROBE = ("zebra", "quartz", "violin", "marble")
"""Words of a made-up conversation, which no template holds."""
MARKERS = [chr(code) for code in range(0xE000, 0xE020)]
"""Characters for private use: stand around control tokens while a text is rendered."""


class BadRow(ValueError):
    """A row that the template or the tokenizer cannot label. `kind` is the kind of fault, the text its reason."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Encoded:
    """A rendered conversation."""

    text: str
    input_ids: np.ndarray
    """int64 [num_tokens]."""
    offsets: np.ndarray
    """int64 [num_tokens, 2], characters of the text."""
    spans: tuple[Span, ...]
    """First and last-plus-one token of each assistant turn that is trained on."""
    control_tokens: tuple[str, ...]
    """Those that stood in the turns' own words, and were read as plain text."""


@dataclass(frozen=True)
class Form:
    """A template with the tokenizer that reads it. Made by `load_form`."""

    name: str
    text: str
    tokenizer: PreTrainedTokenizerBase
    end_id: int
    """The token that ends an assistant turn."""
    marks: bool
    """The template marks the assistant's words."""
    marks_end: bool
    """The marks hold the end token; else it is added to what is trained on."""
    control: re.Pattern[str]
    """The special tokens, longest first."""

    @property
    def end_token(self) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(self.end_id))

    @property
    def date(self) -> str | None:
        """What stands for today where the template prints the date."""
        return fixed_date(self.text)

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> Encoded:
        """Args:   messages: each with role, content and, where it is not trained on, `train: False`.
        Raises: BadRow where the template refuses the conversation or an assistant turn cannot be distinguished.
        """
        messages, control, marker = self._marked(messages)
        text, marked = self._render(messages)
        for message in messages:
            if message["role"] != "assistant" and message["content"].strip() not in text:
                raise BadRow("turn_left_out", f"the template leaves out the words of a {message['role']} turn")
        turns = [message for message in messages if message["role"] == "assistant"]
        spans = self._of_marks(marked, turns) if self.marks else self._of_prefixes(text, messages)
        if not self.marks_end:
            spans = [self._with_end(text, span) for span in spans]
        text, cuts, spans = _without_markers(text, spans, marker)
        ids, offsets = self.tokenize(text, cuts)
        self._refuse_control_tokens(ids, offsets, cuts)
        trained = [span for span, turn in zip(spans, turns, strict=True) if turn.get("train", True)]
        return Encoded(
            text, ids, offsets, tuple(self._tokens_of(ids, offsets, text, span) for span in trained), control
        )

    def opening(self, turn: str, begun: str) -> tuple[str, list[int]]:
        """A user's turn and an answer that has begun, as text, and where `tokenize` is to cut it.

        Raises: BadRow where the template refuses the turn.
        """
        messages, _, marker = self._marked([{"role": "user", "content": turn}])
        rendered, _ = self._render(messages, prompt=True)
        text, cuts, _ = _without_markers(rendered + begun, [], marker)
        return text, cuts

    def _marked(
        self, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], tuple[str, ...], str | None]:
        """The messages with a marker inside each control token, the tokens, and the marker, if there is one."""
        found = [token for message in messages for token in self.control.findall(message["content"])]
        if not found:
            return [dict(message) for message in messages], (), None
        marker = self._marker(messages)
        put = [
            {**message, "content": self.control.sub(lambda m: m[0][:1] + marker + m[0][1:], message["content"])}
            for message in messages
        ]
        return put, tuple(found), marker

    def _marker(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """A character that neither the messages nor the template hold."""
        texts = [self.text, *(message["content"] for message in messages)]
        for marker in MARKERS:
            if not any(marker in text for text in texts):
                return marker
        raise BadRow("control_token", "it holds control tokens, and every character that would mark them")

    def _render(self, messages: Sequence[Mapping[str, Any]], prompt: bool = False) -> tuple[str, list[Span]]:
        """The text, and where the template's marks stand in it."""
        plain = [{"role": message["role"], "content": message["content"]} for message in messages]
        special: dict[str, Any] = dict(self.tokenizer.special_tokens_map)
        try:
            made: Any = render_jinja_template(
                conversations=[plain],
                chat_template=self.text,
                return_assistant_tokens_mask=self.marks,
                add_generation_prompt=prompt,
                **special,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            raise BadRow("template_error", f"the template refuses it: {str(error).splitlines()[0]}") from error
        rendered, spans = made
        return rendered[0], [(int(start), int(end)) for start, end in spans[0]] if self.marks else []

    def _of_marks(self, marked: list[Span], turns: Sequence[Mapping[str, Any]]) -> list[Span]:
        if len(marked) > len(turns):
            marked = _joined(marked)
        if len(marked) != len(turns):
            raise BadRow(
                "unmarked_turn", f"the template marks {len(marked)} of its {len(turns)} assistant turns as trained on"
            )
        return marked

    def _of_prefixes(self, text: str, messages: Sequence[Mapping[str, Any]]) -> list[Span]:
        """Where each assistant turn begins and ends, proven: what is rendered up to a turn begins the whole text."""
        spans: list[Span] = []
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, _ = self._render(messages[:at], prompt=True)
            if not text.startswith(before) or (spans and len(before) < spans[-1][1]):
                raise BadRow(
                    "unproven_turn",
                    "the template has no marks around what is trained on, and renders the beginning of the "
                    "conversation otherwise once it continues, so its assistant turns cannot be distinguished",
                )
            found = self._ended(text, message["content"].strip(), len(before))
            if found is None or self.end_token in text[len(before) : found[0]]:
                raise BadRow(
                    "unproven_turn",
                    f"the words of an assistant turn with {self.end_token} behind them do not stand where the template "
                    "begins that turn, so it cannot be distinguished",
                )
            spans.append((len(before), found[1]))
        return spans

    def _ended(self, text: str, content: str, start: int) -> Span | None:
        """Where the words stand that are followed by the end token, and where that ends."""
        begin = text.find(content, start)
        while begin >= 0:
            if (end := self._end.match(text, begin + len(content))) is not None:
                return begin, end.end()
            begin = text.find(content, begin + 1)
        return None

    @cached_property
    def _end(self) -> re.Pattern[str]:
        return re.compile(rf"\s*{re.escape(self.end_token)}")

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset({*self.tokenizer.all_special_ids, self.end_id})

    def _with_end(self, text: str, span: Span) -> Span:
        found = self._end.match(text, span[1])
        if found is None and not text[: span[1]].rstrip().endswith(self.end_token):
            raise BadRow("no_end", f"an assistant turn does not end with {self.end_token}")
        return (span[0], span[1] if found is None else found.end())

    def tokenize(self, text: str, cuts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and offsets; no token reaches over a cut."""
        ids: list[int] = []
        offsets: list[Span] = []
        for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True):
            piece = text[start:end]
            # behind a line end, so that SentencePiece puts no blank in front of the piece
            for front in ("\n", "") if start else ("",):
                own = self._encoding(front + piece)
                if not front or (own["offset_mapping"] and own["offset_mapping"][0][1] <= 1):
                    break
            for token, (first, last) in zip(own["input_ids"], own["offset_mapping"], strict=True):
                if front and last <= len(front):
                    continue
                ids.append(token)
                offsets.append((first - len(front) + start, last - len(front) + start))
        return np.array(ids, dtype=np.int64), np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def _refuse_control_tokens(self, ids: np.ndarray, offsets: np.ndarray, cuts: Sequence[int]) -> None:
        special = self._special - {self.tokenizer.unk_token_id}
        for cut in cuts:
            neighbours = ids[(offsets[:, 0] == cut) | (offsets[:, 1] == cut)]
            if special.intersection(neighbours.tolist()):
                raise BadRow("control_token", "the tokenizer makes a control token of plain text")

    def _encoding(self, text: str) -> Any:
        return self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)

    def _tokens_of(self, ids: np.ndarray, offsets: np.ndarray, text: str, span: Span) -> Span:
        """The tokens of a span of characters.

        A token that also holds the end of the prompt belongs to the answer where it holds blanks of the prompt only,
        and to the prompt where it holds blanks of the answer only.
        """
        start, end = span
        first = int(np.searchsorted(offsets[:, 1], start, side="right"))
        last = int(np.searchsorted(offsets[:, 0], end, side="left"))
        if first < last and offsets[first][0] < start and text[offsets[first][0] : start].strip():
            if text[start : offsets[first][1]].strip():
                token = text[offsets[first][0] : offsets[first][1]]
                raise BadRow("straddling_token", f"the token {token!r} holds the end of the prompt and of the answer")
            first += 1
        if first < last and text[end : offsets[last - 1][1]].strip():
            token = text[offsets[last - 1][0] : offsets[last - 1][1]]
            raise BadRow(
                "straddling_token", f"the token {token!r} holds the end of an answer and what stands behind it"
            )
        own = ids[first:last]
        if not len(own) or not self._ends(own):
            raise BadRow(
                "no_response_token",
                f"an assistant turn carries no label, or does not end with {self.end_token}: the tokenizer drops its "
                "characters, or the template does not end it",
            )
        return first, last

    def _ends(self, ids: np.ndarray) -> bool:
        """Blanks and other special tokens may stand behind the end token: templates write them, and marks hold them."""
        for token in reversed(ids.tolist()):
            if token == self.end_id:
                return True
            if token not in self._special and str(self.tokenizer.decode([token])).strip():
                return False
        return False


def load_form(name: str, tokenizer: PreTrainedTokenizerBase) -> Form:
    """Args:   name: as `chat_template` takes it.
    Raises: UserError where the template cannot be used with this tokenizer: no end token, a template that does not
        render a question and its answer, no token that ends an answer.
    """
    text = chat_template(name, tokenizer)
    where = f"template '{name}' with the tokenizer of {tokenizer.name_or_path}"
    if not tokenizer.is_fast:
        raise UserError(f"{where}: the tokenizer does not report where its tokens stand in a text; use its fast form")
    if name in OWN and tokenizer.eos_token is None:
        raise UserError(f"{where}: the tokenizer has no end token, so an answer would not end; set template to chat")
    marks = GENERATION_MARK.search(text) is not None
    blank = Form(name, text, tokenizer, -1, marks, True, re.compile("(?!)"))
    user, answer, *_ = PROBE
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    try:
        rendered, spans = blank._render(messages)
    except BadRow as error:
        raise UserError(f"{where}: a question and its answer cannot be rendered: {error}") from error
    if rendered.count(answer) != 1 or rendered.count(user) != 1:
        raise UserError(f"{where}: it does not print the words of a question and its answer once each")
    end_id, end_from = _end_of_turn(tokenizer, rendered, rendered.index(answer) + len(answer))
    if end_id is None:
        raise UserError(
            f"{where}: no token of its own follows an answer, so a model that is trained in it never stops. Set "
            "finetune.template to alpaca, or to a .jinja file that writes the end token behind each assistant turn"
        )
    special = [str(token) for token in tokenizer.all_special_tokens]
    special += [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    special.append(str(tokenizer.convert_ids_to_tokens(end_id)))
    longest_first = sorted({token for token in special if len(token) > 1}, key=len, reverse=True)
    control = re.compile("|".join(re.escape(token) for token in longest_first))
    marks_end = marks and bool(spans) and spans[-1][1] > end_from
    form = Form(name, text, tokenizer, end_id, marks, marks_end, control)
    try:
        form.encode(messages)
    except BadRow as error:
        raise UserError(f"{where}: a question and its answer cannot be labelled: {error}") from error
    return form


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, text: str, after: int) -> tuple[int | None, int]:
    """The first token of its own behind an answer, and where it begins."""
    known = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    encoding: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for token, (start, _) in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True):
        if start >= after and token in known:
            return token, start
    return None, after


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Spans that touch become one: Phi-3's template marks the end of the text behind the last turn once more."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _without_markers(text: str, spans: list[Span], marker: str | None) -> tuple[str, list[int], list[Span]]:
    """The text without its markers, where they stood, and the spans of it."""
    if marker is None:
        return text, [], spans
    at = [match.start() for match in re.finditer(marker, text)]
    moved = [(start - sum(p < start for p in at), end - sum(p < end for p in at)) for start, end in spans]
    return text.replace(marker, ""), [position - number for number, position in enumerate(at)], moved
