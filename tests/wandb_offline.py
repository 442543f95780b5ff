"""Reads an offline W&B run back: a .wandb file is a LevelDB-style log of protobuf records."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as protocol

PATIENCE_SECONDS = 20
BLOCK, HEADER, FULL, FIRST, MIDDLE, LAST = 32768, 7, 1, 2, 3, 4


def records(path: Path) -> Iterator[protocol.Record]:
    data, position, pending = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        chunk = data[position + HEADER : position + HEADER + length]
        if (kind == 0 and length == 0) or len(chunk) < length:
            break
        assert zlib.crc32(chunk, zlib.crc32(bytes([kind]))) == checksum
        position += HEADER + length
        pending += chunk
        if kind in (FULL, LAST):
            record = protocol.Record()
            record.ParseFromString(pending)
            yield record
            pending = b""


def read(path: Path) -> dict:
    """group, job_type, config, history (list of dicts), artifact names and exit code of one finished run.

    W&B's service writes the last records a moment after the run is finished: they are waited for.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := _read(path))["exit_code"] is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _read(path: Path) -> dict:
    found: dict = {"history": [], "artifacts": [], "config": {}, "summary": {}, "stats": [], "exit_code": None}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"group": record.run.run_group, "job_type": record.run.job_type, "name": record.run.display_name}
            found["id"] = record.run.run_id
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            items = record.history.item
            found["history"].append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            found["artifacts"].append(record.request.log_artifact.artifact.name)
        elif kind == "artifact":
            found["artifacts"].append(record.artifact.name)
        elif kind == "summary":
            items = record.summary.update
            found["summary"] |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
        elif kind == "stats":
            found["stats"] += [item.key for item in record.stats.item]
        elif kind == "exit":
            found["exit_code"] = record.exit.exit_code
    return found
