"""Rows of Arrow tables as Python objects, text that is not Unicode included, and the JSON form of what JSON has not."""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
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
        decode = _decoder(column.type)
        return [decode(value) for value in column.cast(_with_bytes(column.type), safe=False).to_pylist()]


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
    if pa.types.is_string_view(kind):
        return pa.binary_view()
    if pa.types.is_map(kind):
        return pa.map_(_with_bytes(kind.key_type), _with_bytes(kind.item_type))
    for is_kind, make in (
        (pa.types.is_list, pa.list_),
        (pa.types.is_large_list, pa.large_list),
        (pa.types.is_fixed_size_list, lambda field: pa.list_(field, kind.list_size)),
    ):
        if is_kind(kind):
            return make(pa.field(kind.value_field.name, _with_bytes(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _with_bytes(field.type)) for field in kind])
    return kind


def _decoder(kind: pa.DataType) -> Callable[[Any], Any]:
    """What makes the Python form of a value of this type out of that with bytes in place of text."""
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return lambda value: None if value is None else value.decode("utf-8", "surrogateescape")
    if pa.types.is_map(kind):
        key, item = _decoder(kind.key_type), _decoder(kind.item_type)
        return lambda value: None if value is None else [(key(k), item(v)) for k, v in value]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        each = _decoder(kind.value_type)
        return lambda value: None if value is None else [each(one) for one in value]
    if pa.types.is_struct(kind):
        fields = {field.name: _decoder(field.type) for field in kind}
        return lambda value: None if value is None else {name: fields[name](one) for name, one in value.items()}
    return lambda value: value


def taken(batch: pa.RecordBatch, indices: np.ndarray) -> list[pa.RecordBatch]:
    """The rows at these indices, in their order. Arrow takes no rows of some types (views of text and bytes): of a
    batch that has one, each row is a slice.
    """
    import pyarrow as pa

    try:
        return [batch.take(indices)]
    except pa.ArrowNotImplementedError:
        return [batch.slice(at, 1) for at in indices.tolist()]


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
