"""YAML as it is written: the core schema of YAML 1.2, for recipes, `--set`, profiles and published results.

`yes`, `no`, `on`, `1:30` and `1_000` are text; `042`, `.inf` and `.nan` are refused, and so is all that would be lost
or changed in silence: a key that stands twice, a key that is not text, a tag, bytes that are not UTF-8. Merge keys
work. Every error is one sentence with its line.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from selectit.errors import UserError

MERGE = "<<"
PLAIN = "!plain"
"""The tag, in here, of a text without quotes and without a tag."""
MOST_VALUES = 500_000
"""Of a file, those that aliases repeat included."""
CORE = "tag:yaml.org,2002:"
NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
RESOLVERS = (("null", NULL), ("bool", BOOL), ("int", INT), ("float", FLOAT))
ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip


class _Loader(yaml.SafeLoader):
    """Composes nodes; which plain text is a number is decided here and not by PyYAML, which reads YAML 1.1."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> Any:
        return PLAIN if kind is ScalarNode and implicit[0] else super().resolve(kind, value, implicit)


class _Dumper(yaml.SafeDumper):
    """Quotes what the core schema of 1.2 would read as something else, and what YAML 1.1 would."""

    yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeDumper.yaml_implicit_resolvers.items()}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(f"{CORE}float", re.compile(rf"^(?:{FLOAT.pattern}|{LEADING_ZERO.pattern})$"), None)
_Dumper.add_implicit_resolver(f"{CORE}int", re.compile(rf"^(?:{INT.pattern})$"), None)


def dump(value: Any) -> str:
    """YAML that `parse` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read(path: Path, what: str) -> Any:
    """Args:   what: in front of every error, such as `recipe my.yaml`.
    Raises: UserError, one sentence with the line.
    """
    return parse(decoded(path.read_bytes(), what), what)


def read_with_lines(path: Path, what: str) -> tuple[Any, dict[str, int]]:
    """As `read`, and dotted key -> line, from 1; an item of a list has its position as key."""
    reader = _Reader(what)
    return _parsed(decoded(path.read_bytes(), what), what, reader), reader.lines


def key_of(fault: str, keys: Iterable[str]) -> str | None:
    """The longest of the dotted keys that a fault begins with, as `key: ...` or as a section around it."""
    return max((key for key in keys if fault.startswith((f"{key}:", f"{key}."))), key=len, default=None)


def with_line(fault: str, line: int) -> str:
    return f"line {line}: {fault}"


def with_lines(faults: Iterable[str], lines: dict[str, int]) -> list[str]:
    """Faults that begin with a dotted key, each with its line in front."""
    return [fault if (key := key_of(fault, lines)) is None else with_line(fault, lines[key]) for fault in faults]


def decoded(content: bytes, what: str) -> str:
    """UTF-8 text, with or without a byte-order mark. Raises: UserError with the encoding found and the line."""
    for mark, name in ENCODINGS:
        if content.startswith(mark):
            raise UserError(f"{what} is {name} text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        if b"\0" in content:
            raise UserError(f"{what}, line {line}: it is not text, or UTF-16; save it as UTF-8") from error
        latin = content[error.start : error.start + 1].decode("latin-1")
        raise UserError(
            f"{what}, line {line}: byte {content[error.start]:#04x} is not UTF-8 (in Latin-1 it is '{latin}'); save "
            "the file as UTF-8"
        ) from error


def parse(text: str, what: str) -> Any:
    """A text as plain mappings, lists, texts, numbers, true, false and null.

    Raises: UserError, see `read`.
    """
    return _parsed(text, what, _Reader(what))


def _parsed(text: str, what: str, reader: _Reader) -> Any:
    try:
        node = yaml.compose(text, _Loader)
        return None if node is None else reader.value(node)
    except yaml.MarkedYAMLError as error:
        raise _error(what, error.problem_mark or error.context_mark, f"not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UserError(f"{what}, line {line}: the character {error.character!r} cannot stand in YAML") from error
    except RecursionError as error:
        raise UserError(f"{what}: nested too deeply") from error


def _error(what: str, mark: Any, sentence: str) -> UserError:
    where = "" if mark is None else f", line {mark.line + 1}"
    return UserError(f"{what}{where}: {sentence}")


class _Reader:
    def __init__(self, what: str) -> None:
        self._what, self._open, self._num_values = what, set[int](), 0
        self.lines: dict[str, int] = {}

    def value(self, node: Node, at: str = "") -> Any:
        """Args: at: dotted key of the node, with a dot behind it."""
        self._num_values += 1
        if self._num_values > MOST_VALUES:
            raise self._error(node, f"with its aliases the file has more than {MOST_VALUES:,} values")
        if id(node) in self._open:
            raise self._error(node, "an alias stands inside of what it repeats")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                self._check_tag(node, "seq")
                return [self._item(item, f"{at}{number}") for number, item in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            self._check_tag(node, "map")
            return self._mapping(node, at)
        finally:
            self._open.remove(id(node))

    def _item(self, node: Node, at: str) -> Any:
        self.lines[at] = node.start_mark.line + 1
        return self.value(node, f"{at}.")

    def _mapping(self, node: MappingNode, at: str) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in lines:
                raise self._error(key_node, f"the key '{key}' stands twice in one mapping (also in line {lines[key]})")
            lines[key] = key_node.start_mark.line + 1
            if key == MERGE and key_node.tag == PLAIN:
                merged += self._merged(value_node, at)
                self.lines.update({f"{at}{key}": line for key, line in lines.items() if key in own})
            else:
                self.lines[f"{at}{key}"] = lines[key]
                own[key] = self.value(value_node, f"{at}{key}.")
        inherited: dict[str, Any] = {}
        for one in merged:  # of several the first wins
            inherited = {**one, **inherited}
        return {**inherited, **own}

    def _merged(self, node: Node, at: str) -> list[dict[str, Any]]:
        values = self.value(node, at)
        found = values if isinstance(values, list) else [values]
        if not all(isinstance(one, dict) for one in found):
            raise self._error(node, "`<<` takes a mapping such as *name, or a list of mappings")
        return found

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            kind = "mapping" if isinstance(node, MappingNode) else "list"
            raise self._error(node, f"a {kind} stands as a key; keys are text")
        text: str = node.value
        if node.tag != PLAIN:
            self._check_tag(node, "str")
        elif not text:
            raise self._error(node, "a key is missing in front of ':'")
        return text

    def _scalar(self, node: ScalarNode) -> Any:
        text: str = node.value
        if node.tag != PLAIN:
            self._check_tag(node, "str")
            return text
        kind = next((name for name, pattern in RESOLVERS if pattern.fullmatch(text)), None)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if kind == "float":
            number = float(text)
            if math.isinf(number):
                raise self._error(node, f"{text} is too large for a number")
            return number
        if LEADING_ZERO.fullmatch(text):
            plain = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", text)
            raise self._error(node, f"found {text}; write {plain} for the number, or '{text}' for text")
        if NOT_FINITE.fullmatch(text):
            raise self._error(node, f"found {text}; a number here is finite")
        return text

    def _check_tag(self, node: Node, kind: str) -> None:
        if node.tag != f"{CORE}{kind}":
            tag = node.tag.replace(CORE, "!!")
            raise self._error(node, f"the tag {tag} is not read; write the value without it")

    def _error(self, node: Node, sentence: str) -> UserError:
        return _error(self._what, node.start_mark, sentence)
