"""Some columns of a JSONL file, read without the texts that make up most of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
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
