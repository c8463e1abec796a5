"""Text files as blocks of whole lines, inflated within limits."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
GZIP = 31  # zlib's window bits for gzip members, whose CRC and length it then checks
CHUNK = 1 << 18


class DamagedFile(ValueError):
    """The file is not what its format promises, or larger than allowed."""


@dataclass(frozen=True)
class ReadLimits:
    """How much a file may become; small, hostile files must not fill the machine."""

    inflated: int = 128 << 30  # bytes
    ratio: int = 200  # inflated over compressed; reviews reach about 5
    ratio_from: int = 1 << 20  # inflated bytes below which the ratio says nothing
    line: int = 1 << 20  # bytes
    block: int = 16 << 20  # bytes parsed at once


@dataclass(frozen=True)
class Block:
    """Whole lines, each ended by a newline."""

    data: bytes
    first_line: int  # counted from 1
    lines: int


def _inflate(file: BinaryIO, path: Path, limits: ReadLimits) -> Iterator[bytes]:
    """The text of all gzip members; what follows them has to be another member."""
    member, taken, given = zlib.decompressobj(GZIP), 0, 0
    size = min(CHUNK, limits.block)
    chunk = file.read(size)
    while chunk:
        taken += len(chunk)
        while chunk:
            if member.eof:
                member = zlib.decompressobj(GZIP)
            try:
                text = member.decompress(chunk, 8 * size)
            except zlib.error as error:
                raise DamagedFile(f"{path}: damaged gzip data ({error}): fetch it again") from None
            given += len(text)
            _check_growth(path, taken, given, limits)
            yield text
            chunk = member.unused_data if member.eof else member.unconsumed_tail
        chunk = file.read(size)
    if not member.eof:
        raise DamagedFile(f"{path}: gzip data ends early after {taken} bytes: fetch it again")


def _check_growth(path: Path, taken: int, given: int, limits: ReadLimits) -> None:
    if given > limits.inflated:
        raise DamagedFile(
            f"{path}: inflates past {limits.inflated} bytes: unpack it yourself if you trust it"
        )
    if given > limits.ratio_from and given > limits.ratio * taken:
        raise DamagedFile(
            f"{path}: {taken} bytes inflate to {given} or more, over {limits.ratio} times: "
            "unpack it yourself if you trust it"
        )


def _chunks(path: Path, limits: ReadLimits) -> Iterator[bytes]:
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(0)
        if start == GZIP_MAGIC:
            yield from _inflate(file, path, limits)
        else:
            yield from iter(lambda: file.read(min(CHUNK, limits.block)), b"")


def _check_line_lengths(path: Path, data: bytes, first_line: int, limit: int) -> None:
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            line = first_line + data.count(b"\n", 0, start)
            raise DamagedFile(f"{path}: line {line} is longer than {limit} bytes")
        start = end + 1


def line_blocks(path: Path, limits: ReadLimits) -> Iterator[Block]:
    """The file's lines, inflated if they are gzipped."""
    parts: list[bytes] = []
    size, line = 0, 1
    for chunk in _chunks(path, limits):
        parts.append(chunk)
        size += len(chunk)
        if size < limits.block:
            continue
        data = b"".join(parts)
        end = data.rfind(b"\n") + 1
        parts, size = [data[end:]], len(data) - end
        if end or size > limits.line:
            block = _block(path, data[:end] or data, line, limits)
            line += block.lines
            yield block
    rest = b"".join(parts)
    if rest:
        yield _block(path, rest if rest.endswith(b"\n") else rest + b"\n", line, limits)


def _block(path: Path, data: bytes, line: int, limits: ReadLimits) -> Block:
    _check_line_lengths(path, data, line, limits.line)
    return Block(data, line, data.count(b"\n"))
