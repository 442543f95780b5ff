"""Columns of JSONL files: some of them read without the texts around them, and texts written as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.json

LARGEST_LINE_BYTES = 1 << 26


def read_columns(path: Path, schema: pa.Schema) -> pa.Table:
    """Args: schema: the columns wanted and their types; a value that is missing or null is null.

    Raises: pyarrow.ArrowInvalid for a line that is not JSON, or a value of another type.
    """
    if path.stat().st_size == 0:
        return schema.empty_table()
    wanted = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return pa.json.read_json(path, pa.json.ReadOptions(block_size=LARGEST_LINE_BYTES), wanted)


ESCAPED = r'["\\\x00-\x1f]'


def json_texts(texts: pa.Array) -> pa.Array:
    """Texts as `json.dumps` writes them without escaping what is not ASCII; most have nothing to escape."""
    if compute.any(compute.match_substring_regex(texts, ESCAPED)).as_py():
        encode = json.JSONEncoder(ensure_ascii=False).encode
        return pa.array([encode(text) for text in texts.to_numpy(zero_copy_only=False).tolist()], pa.string())
    return compute.binary_join_element_wise('"', texts, '"', "").fill_null("null")
