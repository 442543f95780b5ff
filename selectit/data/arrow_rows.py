"""Rows of Arrow tables as Python objects, text that is not Unicode included, and the JSON form of what JSON has not."""

from __future__ import annotations

import base64
import datetime
import decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch. Bytes that are not UTF-8 in a text column become lone surrogates, as Python's
    `surrogateescape` makes them, so that the row can be named instead of the batch.
    """
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        columns = [_values(column) for column in batch.columns]
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pa.Array) -> list[Any]:
    if isinstance(column.type, _dictionary_type()):
        column = column.dictionary_decode()
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        return [_decoded(value) for value in column.cast(_with_bytes(column.type), safe=False).to_pylist()]


def _dictionary_type() -> type:
    import pyarrow as pa

    return pa.DictionaryType


def _with_bytes(kind: pa.DataType) -> pa.DataType:
    """The same type with bytes in place of text."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(pa.field(kind.value_field.name, _with_bytes(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(pa.field(kind.value_field.name, _with_bytes(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _with_bytes(field.type)) for field in kind])
    return kind


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    return value


def json_form(value: Any) -> Any:
    """For `json.dumps(default=...)`: times in ISO 8601, durations in seconds, decimals by their digits, bytes in
    base64.

    Raises: TypeError for anything else.
    """
    if isinstance(value, datetime.date | datetime.time):  # datetime and pandas' Timestamp are dates
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "hex") and hasattr(value, "urn"):  # a UUID
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
