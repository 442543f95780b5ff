"""What every section of a recipe is made of: frozen classes that refuse unknown keys.

A field is part of a stage's identity (and so of its fingerprint) unless it is made with `execution()`; a
`Location` enters the identity by the content it names, never by its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from selectit.errors import did_you_mean


@dataclass(frozen=True)
class Contents:
    """What the text of a field stands for."""

    value: Mapping[str, str]
    files: Mapping[str, Path]
    """By the names that are part of the identity with their content."""
    datasets: tuple[tuple[str, str | None], ...]
    """Of the hub, each with its branch, tag or commit. The configuration has a field `commits` for their commits."""
    cure: str
    """What to do where the hub does not answer for one of them."""


class Config(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )

    def location_files(self, field: str) -> list[Path] | None:
        """The files of a location that this configuration reads; None: all of them."""
        return None

    def hub_dataset(self, field: str) -> tuple[str, str] | None:
        """The hub's data set that a keyword of a location stands for, and the field whose `revision` names the commit
        of it; None: the keyword is the whole value.
        """
        return None

    def contents(self, field: str) -> Contents | None:
        """What enters the identity in place of a field's text; None: the text does."""
        return None

    def plugin(self) -> str | None:
        """Content of the plugin whose code this is, for the identity; None: it is this project's."""
        return None

    @classmethod
    def first_fields(cls) -> frozenset[str]:
        """Fields that are in an identity also at their defaults; selectit/store/first_fields.py has others."""
        return frozenset()


def shipped(folder: str) -> tuple[str, ...]:
    """Names of the YAML files that ship in a folder of the package, such as evaluate/profiles; TEMPLATE is none."""
    found = (Path(__file__).parents[1] / folder).glob("*.yaml")
    return tuple(sorted(path.stem for path in found if path.stem != "TEMPLATE"))


T = TypeVar("T", bound=BaseModel)


def as_written(schema: type[T], raw: Any, context: Mapping[str, Any] | None = None) -> T:
    """Plain data of a file as a configuration: no text stands for a number, no `true` for 1, no 1 for true.

    Args:   context: what a section needs that is read by others, such as `READ_SELECT`.
    Raises: pydantic.ValidationError with every error.
    """
    return schema.model_validate_json(json.dumps(raw), strict=True, context=context)


@dataclass(frozen=True)
class LocationMark:
    """Marks a text field as a path, which is read relative to the file that holds it."""

    keywords: tuple[str, ...] = ()
    """Words that are not paths, such as `hub`."""
    prefixes: tuple[str, ...] = ()
    """Prefixes in front of the path, such as `hf:`."""
    is_file: bool = False
    """A file here, never a folder or a hub id."""

    def strip(self, value: str) -> str:
        """The path in a value, without its prefix."""
        return next((value.removeprefix(p) for p in self.prefixes if value.startswith(p)), value)


def location_mark(field: FieldInfo) -> LocationMark | None:
    """The mark of a field that holds a location, optional ones included."""
    metadata = [*field.metadata, *(m for arg in get_args(field.annotation) for m in getattr(arg, "__metadata__", ()))]
    return next((m for m in metadata if isinstance(m, LocationMark)), None)


def nested_configs(field: FieldInfo) -> list[type[Config]]:
    """The configurations in a field's annotation: its own, or those of its union or tuple."""

    def leaves(annotation: Any) -> list[Any]:
        return [annotation, *(leaf for argument in get_args(annotation) for leaf in leaves(argument))]

    return [leaf for leaf in leaves(field.annotation) if isinstance(leaf, type) and issubclass(leaf, Config)]


Location = Annotated[str, LocationMark()]
"""A file or folder, or a hub id where no such file or folder exists."""
FileLocation = Annotated[str, LocationMark(is_file=True)]
"""A file."""


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy and torch both take as a seed."""


def one_of(*words: str) -> AfterValidator:
    """Checks that a template is one of the words, or the path of a .jinja file."""

    def check(value: str) -> str:
        if value not in words and not value.endswith(".jinja"):
            allowed = f"{', '.join(words)}, or the path of a file that ends in .jinja"
            raise ValueError(f"there is no template '{value}'; write {allowed}.{did_you_mean(value, words)}")
        return value

    return AfterValidator(check)


TEMPLATES = ("alpaca", "llmzoo", "chat")
Template = Annotated[str, LocationMark(keywords=TEMPLATES), one_of(*TEMPLATES)]
"""The prompt form of training and of chat-format benchmarks."""


def execution(default: Any, **kwargs: Any) -> Any:
    """A field that changes how a stage runs and never what comes out of it."""
    return Field(default, json_schema_extra={"execution": True}, **kwargs)


def is_execution(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("execution"))
