"""Text files that people write: UTF-8, with or without a byte-order mark; any other encoding is refused by name."""

from __future__ import annotations

import codecs
from pathlib import Path

from selectit.errors import UserError

MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte-order mark -> encoding; UTF-32's come first, for UTF-16's begins one of them."""


def read_utf8(path: Path, what: str) -> str:
    """The text without its byte-order mark, `\\r\\n` and `\\r` read as line ends.

    Args:   what: names the file in errors.
    Raises: UserError for another encoding, by its name; OSError.
    """
    content = path.read_bytes()
    cure = f"Save it as UTF-8, such as with `iconv -f ENCODING -t UTF-8 {path.name}`."
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            raise UserError(f"{what} is in {encoding}. {cure.replace('ENCODING', encoding)}")
    if b"\0" in content:
        raise UserError(
            f"{what} holds bytes of value 0, as UTF-16 without a byte-order mark does. "
            f"{cure.replace('ENCODING', 'UTF-16LE')}"
        )
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{what}, line {line}: byte 0x{content[error.start]:02X} is not UTF-8, so the file is most likely in "
            f"Latin-1 or Windows-1252. {cure.replace('ENCODING', 'WINDOWS-1252')}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
