"""Parsing CSV files, piece by piece."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import IO, Any

import pyarrow as pa
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from ..errors import InputError
from ..settings import load_settings
from .columns import COLUMNS, MISSING, ROWS_AT_ONCE, TimeError, narrow
from .fetch import check_size

PIECE = 2_000_000  # bytes; each costs time of its own
FIRST_PIECE = 300_000  # so small that others can begin soon
LINE = 1_000_000  # bytes of the longest line that ends a piece
PART = 65_536  # bytes that are read at once
AHEAD = 8  # pieces that may wait to be parsed
# Whole rows: quotes enclose a value, line breaks in it included, if they begin it. Not more than
# 1,000 at once, as the way back through them is kept in memory. Possessive loops are of single
# characters alone: Python 3.11.2, which Debian 12 has, gets others wrong (gh-106052).
BEGIN = rb'(?:(?<![^,\n])|(?<=\A\xef\xbb\xbf))"[^"]*+(?:""[^"]*+)*'
VALUES = rb'[^"\n]*+(?:%b"(?=[,\r\n])[^"\n]*+)*' % BEGIN
ROWS = re.compile(rb"(?:%b\n){1,1000}" % VALUES)
UNCLOSED = re.compile(rb"%b%b\Z" % (VALUES, BEGIN))


def pieces(file: IO[bytes]) -> Iterator[tuple[pa.Buffer, bool]]:
    """A CSV file in pieces of whole rows, and whether there may be quotes in each.

    No piece is empty, but that of an empty file.

    Raises:
        InputError: A quote is not closed, so that all that follows would be one value.
    """
    limit = load_settings().data_max_bytes
    size, rest, is_first = FIRST_PIECE, b"", True
    while True:
        piece, has_quotes = _read_piece(file, rest, size)
        is_last = piece.size == len(rest)
        if is_last and not rest and not is_first:
            return
        size, is_first = max(size, min(PIECE, file.tell() // 50)), False
        check_size(file.tell(), limit)
        end = _find_end(piece, has_quotes) if piece.size else 0
        if not is_last and not end:
            # A quote within a value, or no line breaks: only the parser knows.
            piece, has_quotes, is_last = _copy(piece.to_pybytes() + file.read()), True, True
            check_size(file.tell(), limit)
        if is_last:
            if has_quotes and UNCLOSED.match(piece, end):
                row = bytes(memoryview(piece)[end : end + 30]).decode("utf-8", "replace")
                raise InputError(f"the row that begins with {row!r} has a quote that is not closed")
            end = piece.size
        yield piece.slice(0, end), has_quotes
        rest = piece.slice(end).to_pybytes()


def _read_piece(file: IO[bytes], rest: bytes, size: int) -> tuple[pa.Buffer, bool]:
    """What is left of the last piece, and more of the file; and whether there are quotes."""
    # Arrow uses its memory again. Python gets large parts from the system anew each time, which
    # takes longer than to read them.
    buffer = pa.allocate_buffer(len(rest) + size + 2 * LINE)  # a zip may give more than LINE
    view, end, has_quotes = memoryview(buffer).cast("B"), 0, False
    for part in chain([rest], _read_parts(file, size)):
        view[end : end + len(part)] = part
        end, has_quotes = end + len(part), has_quotes or b'"' in part
    return buffer.slice(0, end), has_quotes


def _read_parts(file: IO[bytes], size: int) -> Iterator[bytes]:
    """So many bytes in parts, and then what is left of the last line."""
    while size and (part := file.read(min(size, PART))):
        size -= len(part)
        yield part
    yield file.readline(LINE)


def _find_end(piece: pa.Buffer, has_quotes: bool) -> int:
    """How many bytes are whole rows; 0 if that is not known."""
    if has_quotes:
        end = 0
        while rows := ROWS.match(piece, end):
            end = rows.end()
        return end
    return piece.size if piece.slice(piece.size - 1).to_pybytes() == b"\n" else 0


def _copy(content: bytes) -> pa.Buffer:
    """A copy of Arrow's: its threads may outlive a call, and then may not wait for Python."""
    return pa.scalar(content, pa.large_binary()).as_buffer()


def read_names(piece: pa.Buffer) -> list[str]:
    """Read the header, with which a piece begins.

    Raises:
        InputError: A column is missing, or is there twice.
    """
    start = bytes(memoryview(piece)[:16_384])
    names = next(csv.reader(str(start, "utf-8-sig", "replace").strip().splitlines()), [])
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        shown = start[:30].decode("utf-8-sig", "replace")
        raise InputError(f"its header must name {wrong[0]} once; it begins with {shown!r}")
    return names


def parse_range(
    file: Any,  # noqa: ANN401
    start: int,
    stop: int,
    names: list[str] | None,
    has_quotes: bool,
) -> list[pa.Table]:
    """Parse rows of a CSV file, into one table.

    Args:
        file: The file.
        start: The byte at which they begin.
        stop: The byte before which they end.
        names: Of all columns; None: the rows begin with the header.
        has_quotes: Whether there may be quotes in them.

    Raises:
        InputError: It names the column or line.
    """
    rows = pa.allocate_buffer(stop - start)
    file.seek(start)
    if file.readinto(rows) != rows.size:
        raise InputError("it became shorter while it was read; read it again")
    try:
        return [narrow(_read_csv(rows, has_quotes, names), 0)]
    except TimeError as error:
        file.seek(0)
        parts = (file.read(min(PART, start - place)) for place in range(0, start, PART))
        line = sum(part.count(b"\n") for part in parts)
        raise _locate(pa.BufferReader(rows), error, names is None, line) from None


def parse_csv(file: IO[bytes], digest: Any = None) -> list[pa.Table]:  # noqa: ANN401
    """Parse a CSV file, in threads: the file may be unpacked while it is read here.

    Args:
        file: It begins with the header.
        digest: Is updated with what was read.

    Raises:
        InputError: It names the column or line.
    """
    try:
        with ThreadPoolExecutor(1) as parser, ThreadPoolExecutor(1) as hasher:
            return _parse_pieces(pieces(file), digest, parser, hasher)
    except TimeError as error:
        file.seek(0)
        raise _locate(file, error, True, 0) from None


def _parse_pieces(
    csv_pieces: Iterator[tuple[pa.Buffer, bool]],
    digest: Any,  # noqa: ANN401
    parser: ThreadPoolExecutor,
    hasher: ThreadPoolExecutor,
) -> list[pa.Table]:
    waiting: deque[list[Future[Any]]] = deque()
    held: list[pa.Table] = []
    found: list[Future[pa.Table]] = []
    names: list[str] | None = None
    rows = 0

    def take(at_least: int) -> None:
        nonlocal held, rows
        while len(waiting) > at_least:
            table, *_ = (each.result() for each in waiting.popleft())
            held.append(table)
        if (count := sum(map(len, held))) >= (ROWS_AT_ONCE if at_least else 1):
            found.append(parser.submit(narrow, pa.concat_tables(held), rows))
            held, rows = [], rows + count

    for piece, has_quotes in csv_pieces:
        known, names = names, names or read_names(piece)
        waiting.append([parser.submit(_read_csv, piece, has_quotes, known)])
        if digest:
            waiting[-1].append(hasher.submit(digest.update, piece))
        take(AHEAD)
    take(0)
    return [each.result() for each in found]


def _read_csv(rows: pa.Buffer, has_quotes: bool, names: list[str] | None) -> pa.Table:
    """The columns that are used, as text; without names, the rows begin with the header."""
    read = ReadOptions(block_size=4_000_000, column_names=names)
    split = ParseOptions(newlines_in_values=has_quotes)
    convert = ConvertOptions(null_values=MISSING, strings_can_be_null=True)
    convert.include_columns, convert.column_types = COLUMNS, dict.fromkeys(COLUMNS, pa.string())
    return read_csv(pa.BufferReader(rows), read, split, convert)


def _locate(file: Any, error: TimeError, has_header: bool, line: int) -> InputError:  # noqa: ANN401
    """The error, with the line of a row: of rows after that many lines, or of a whole file."""
    with io.TextIOWrapper(file, "utf-8", "replace", newline="") as text:
        reader = csv.reader(text)
        lines = (reader.line_num for record in reader if record)
        found = next(islice(lines, error.row + has_header, None))
    return InputError(f"line {line + found}: {error.problem}")
