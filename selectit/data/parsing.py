"""From rows as they stand in a pool's files to rows with ids, messages, and what is wrong with them.

The reference for what a pool holds: what is kept of a parsed pool was made here.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from selectit.config import PoolConfig
from selectit.data.files import raw_rows, rows_in_file
from selectit.data.formats import NO_STRATUM, Format, check_columns, detected, stratum_of, unknown_format
from selectit.data.row import Row
from selectit.data.row_ids import RowIds
from selectit.data.turns import Unreadable, rated_pair
from selectit.errors import UserError

MOST_SHOWN = 5
NOT_UNICODE = "lone_surrogate"
"""Half of a character that JSON writes as two, such as \\ud83d without its other half, or bytes that are not UTF-8."""


def parsed_rows(pool: PoolConfig) -> Iterator[Row]:
    """Every row of the pool, in order; all but JSON is read as it is asked for.

    Raises: as `read_pool`; for rows that cannot be used and for ids that stand twice once all have been read.
    """
    check_columns(pool)
    shown: list[tuple[int, Row]] = []
    kinds: Counter[str] = Counter()
    row_format: Format | None = None
    unknown: UserError | None = None
    has_strata = False
    ids = RowIds(pool, raw_rows)
    index = -1
    for index, (position, raw) in enumerate(itertools.islice(rows_in_file(pool), pool.limit)):
        if row_format is None and (row_format := detected(pool, raw)) is None:
            unknown = unknown or unknown_format(pool, position, raw)
            if pool.bad_rows == "refuse" and isinstance(raw, dict):
                raise unknown
        row = _row(row_format, index, ids.of(position, raw), raw, pool.stratify_by)
        has_strata = has_strata or row.stratum is not None
        if row.failure:
            kinds[row.failure] += 1
            shown += [(position, row)] if len(shown) < MOST_SHOWN else []
        yield row
    if index < 0:
        raise UserError(f"pool {pool.path} has no rows; name a file with at least one row")
    if row_format is None and unknown is not None:
        raise unknown
    ids.check()
    if kinds[NO_STRATUM] and not has_strata:
        raise UserError(
            f"pool {pool.path}: no row has a value in the column that pool.stratify_by (--stratify-by) names, "
            f"'{pool.stratify_by}'. Name another column, or none."
        )
    if kinds and pool.bad_rows == "refuse":
        raise _bad_rows(pool, kinds, shown, index + 1)


def _row(row_format: Format | None, index: int, named: str, raw: Any, stratify_by: str | None) -> Row:
    try:
        if not isinstance(raw, dict):
            raise Unreadable("not_an_object", f"found {type(raw).__name__}; a row is an object with columns")
        if not is_unicode(raw):  # its texts are left out, so that nothing later stumbles over them
            raise Unreadable(NOT_UNICODE, _not_unicode(raw))
        if row_format is None:
            raise Unreadable("missing_column", f"no format has its columns: {', '.join(sorted(raw)) or 'none'}")
        messages, is_conversation = row_format.messages(raw)
        stratum = None if stratify_by is None else stratum_of(raw, stratify_by)
        instruction, response, untrained = rated_pair(messages, last=not is_conversation)
    except Unreadable as fault:
        return Row(index, named, "", "", (), raw, fault.kind, reason=str(fault))
    failure = untrained
    if failure is None and not response.strip():
        failure = "empty_response"
    elif failure is None and not instruction.strip():
        failure = "empty_instruction"
    return Row(index, named, instruction, response, tuple(messages), raw, failure, is_conversation, stratum=stratum)


def is_unicode(value: Any) -> bool:
    """Whether all text in a row, keys too, can be written as UTF-8."""
    if isinstance(value, str):
        if value.isascii():
            return True
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, dict):
        return all(is_unicode(key) and is_unicode(item) for key, item in value.items())
    return all(map(is_unicode, value)) if isinstance(value, list | tuple) else True


def _not_unicode(row: dict[str, Any]) -> str:
    """Bytes that are not UTF-8 were read as U+DC80 to U+DCFF."""
    byte = next((ord(c) for c in json.dumps(row, ensure_ascii=False, default=str) if 0xDC80 <= ord(c) <= 0xDCFF), None)
    if byte is None:
        return "half of a character, such as \\ud83d without its other half"
    return (
        f"byte 0x{byte - 0xDC00:02X} is not UTF-8; a file in Latin-1 or Windows-1252 becomes UTF-8 with "
        "`iconv -f WINDOWS-1252 -t UTF-8`"
    )


def _bad_rows(pool: PoolConfig, kinds: Counter[str], shown: list[tuple[int, Row]], num_rows: int) -> UserError:
    """Args: shown: position in the file and row, of the first of those that cannot be used."""
    named = "; ".join(
        f"row {at} ({row.row_id}): {str(row.failure).replace('_', ' ')}" + (f" ({row.reason})" if row.reason else "")
        for at, row in shown
    )
    num_bad = kinds.total()
    more = f" and {num_bad - len(shown)} more" if num_bad > len(shown) else ""
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return UserError(
        f"pool {pool.path}: {num_bad} of {num_rows} rows cannot be used: {named}{more}. By kind: {counts}. Fill or "
        "remove them, or set pool.bad_rows to 'exclude' (--bad-rows exclude): they are then never scored and never "
        "selected."
    )
