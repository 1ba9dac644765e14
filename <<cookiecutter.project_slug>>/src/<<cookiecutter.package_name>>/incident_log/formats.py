"""Parsing CSV and Parquet files, piece by piece, to the columns that are used."""

import csv
import hashlib
import io
import re
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from ..errors import InputError
from ..settings import load_settings
from .fetch import check_size

MEMBER = "incident_event_log.csv"
TEXTS = ["number", "priority"]
TIMES = ["sys_updated_at", "closed_at"]
COLUMNS = [*TEXTS, *TIMES]
TEXT, TIME = pa.dictionary(pa.int32(), pa.string()), pa.timestamp("ms")
SCHEMA = pa.schema([*((name, TEXT) for name in TEXTS), *((name, TIME) for name in TIMES)])
MISSING = ["?", ""]
ROW = 24  # bytes of a row in memory
ROWS_AT_ONCE = 200_000  # whose text is held until its values are numbered
PIECE = 2_000_000  # bytes; each costs time of its own
FIRST_PIECE = 300_000  # so small that others can begin soon
LINE = 1_000_000  # bytes of the longest line that ends a piece
PART = 65_536  # bytes that are read at once
AHEAD = 8  # pieces that may wait to be parsed
# Whole rows: quotes enclose a value, line breaks in it included, if they begin it.
ROWS = re.compile(
    rb'(?:(?:[^"\n]++|(?:(?<![^,\n])|(?<=\A\xef\xbb\xbf))"(?:[^"]++|"")*+"(?=[,\r\n]))*+\n)*+'
)


class TimeError(InputError):
    """A time that is none, in a row."""

    def __init__(self, row: int, name: str, text: str) -> None:
        super().__init__(row, name, text)  # so that it can be pickled
        self.row, self.problem = row, f"{name} is {text!r}, not D/M/YYYY HH:MM"

    def __str__(self) -> str:
        return f"row {self.row + 1}: {self.problem}"


def parse_file(file: IO[bytes]) -> tuple[list[pa.Table], str]:
    """Parse a file, whatever its name.

    Args:
        file: A CSV file, a zip that holds incident_event_log.csv, or a Parquet file.

    Returns:
        Its rows that have both times, in tables of the columns that are used, of `SCHEMA`; and the
        SHA-256 of the CSV or Parquet file.

    Raises:
        InputError: It names the column or line.
        Exception: zip files and Arrow raise their own.
    """
    if is_parquet(file):
        return list(parse_parquet(file)), hash_file(file)
    digest = hashlib.sha256()
    return parse_csv(unzipped(file), digest), digest.hexdigest()


def hash_file(file: IO[bytes]) -> str:
    """The SHA-256 of a file, which is at its start again."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    file.seek(0)
    return digest.hexdigest()


def is_parquet(file: IO[bytes]) -> bool:
    """Whether it is a Parquet file."""
    return _begins(file, b"PAR1")


def is_zip(file: IO[bytes]) -> bool:
    """Whether it is a zip."""
    return _begins(file, b"PK")


def _begins(file: IO[bytes], magic: bytes) -> bool:
    start = file.read(len(magic))
    file.seek(0)
    return start == magic


def unzipped(file: IO[bytes]) -> IO[bytes]:
    """The CSV file in a zip; a file that is not a zip as it is."""
    if not is_zip(file):
        return file
    archive = zipfile.ZipFile(file)
    member = archive.NameToInfo.get(MEMBER)
    # Of other methods zipfile unpacks a block whole, however large it becomes.
    if member is None or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"it must hold {MEMBER}, deflated or stored, not {archive.namelist()[:3]}")
    return archive.open(member)


def pieces(file: IO[bytes]) -> Iterator[pa.Buffer]:
    """A CSV file in pieces of whole rows, which are not empty; an empty file is an empty piece."""
    limit = load_settings().data_max_bytes
    size, rest, is_first = FIRST_PIECE, b"", True
    while True:
        piece, has_quotes = _read_piece(file, rest, size)
        is_last = piece.size == len(rest)
        if is_last and not rest and not is_first:
            return
        size, is_first = max(size, min(PIECE, file.tell() // 50)), False
        check_size(file.tell(), limit)
        end = piece.size
        if has_quotes and not is_last and not (end := _find_end(piece)):
            # A quote within a value: only the parser knows.
            piece = _copy(piece.to_pybytes() + file.read())
            check_size(file.tell(), limit)
            end = piece.size
        yield piece.slice(0, end)
        rest = piece.slice(end).to_pybytes()


def _read_piece(file: IO[bytes], rest: bytes, size: int) -> tuple[pa.Buffer, bool]:
    """What is left of the last piece, and more of the file; and whether there are quotes."""
    # Arrow uses its memory again. What Python takes in large parts is new each time, which takes
    # longer than reading.
    buffer = pa.allocate_buffer(len(rest) + size + 2 * LINE)  # a zip may give more than LINE
    view, end, has_quotes = memoryview(buffer).cast("B"), 0, False
    for part in chain([rest], _read_parts(file, size)):
        view[end : end + len(part)] = part
        end, has_quotes = end + len(part), has_quotes or b'"' in part
    return buffer.slice(0, end), has_quotes


def _read_parts(file: IO[bytes], size: int) -> Iterator[bytes]:
    """So many bytes, and what is left of their last line."""
    while size and (part := file.read(min(size, PART))):
        size -= len(part)
        yield part
    yield file.readline(LINE)


def _find_end(piece: pa.Buffer) -> int:
    """How many bytes are whole rows."""
    return ROWS.match(piece).end()  # type: ignore[union-attr]


def _copy(content: bytes) -> pa.Buffer:
    """A copy of Arrow's: its threads may outlive a call, and then may not wait for Python."""
    return pa.scalar(content, pa.large_binary()).as_buffer()


def _count(piece: pa.Buffer, byte: bytes) -> int:
    values, step = np.frombuffer(piece, np.uint8), 100_000  # which the processor's cache holds
    parts = (values[start : start + step] for start in range(0, len(values), step))
    return sum(int(np.count_nonzero(part == ord(byte))) for part in parts)


def count_lines(piece: pa.Buffer) -> int:
    """How many lines end in a piece."""
    return _count(piece, b"\n")


def read_names(piece: pa.Buffer) -> list[str]:
    """Read the header, with which a piece begins.

    Raises:
        InputError: A column is missing, or is there twice.
    """
    start = bytes(memoryview(piece)[:16_384])
    names = next(csv.reader(str(start, "utf-8-sig", "replace").strip().splitlines()), [])
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        raise InputError(f"its header must name {wrong[0]} once; it begins with {start[:30]!r}")
    return names


def parse_range(
    file: Any,  # noqa: ANN401
    start: int,
    stop: int,
    names: list[str] | None,
    line: int,
) -> pa.Table:
    """Parse rows of a CSV file.

    Args:
        file: The file.
        start: The byte at which they begin.
        stop: The byte before which they end.
        names: Of all columns; None: the rows begin with the header.
        line: The line of the file after which they stand.

    Raises:
        InputError: It names the column or line.
    """
    rows = pa.allocate_buffer(stop - start)
    file.seek(start)
    if file.readinto(rows) != rows.size:
        raise InputError("it became shorter while it was read; read it again")
    try:
        return narrow(_read_csv(rows, names), 0)
    except TimeError as error:
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
    csv_pieces: Iterator[pa.Buffer],
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

    for piece in csv_pieces:
        known, names = names, names or read_names(piece)
        waiting.append([parser.submit(_read_csv, piece, known)])
        if digest:
            waiting[-1].append(hasher.submit(digest.update, piece))
        take(AHEAD)
    take(0)
    return [each.result() for each in found]


def _read_csv(rows: pa.Buffer, names: list[str] | None) -> pa.Table:
    """The columns that are used, as text; without names, the rows begin with the header."""
    read = ReadOptions(block_size=4_000_000, column_names=names)
    split = ParseOptions(newlines_in_values=_count(rows, b'"') > 0)
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


def open_parquet(file: Any) -> Any:  # noqa: ANN401
    """Open a Parquet file, whose columns are checked.

    Raises:
        InputError: A column is missing; or it is larger than DATA_MAX_MB.
    """
    from pyarrow import parquet  # here, as importing it takes time

    metadata = parquet.read_metadata(file)
    names = metadata.schema.to_arrow_schema().names
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        shown = ", ".join(names[:5])
        raise InputError(f"it must hold the column {wrong[0]} once; its columns are {shown}, ...")
    check_size(ROW * metadata.num_rows)
    return parquet.ParquetFile(file, metadata=metadata, read_dictionary=TEXTS, pre_buffer=False)


def parse_parquet(file: IO[bytes], group: int | None = None) -> Iterator[pa.Table]:
    """Parse a Parquet file, or one row group of it.

    Raises:
        InputError: It names the column or row.
    """
    parquet = open_parquet(file)
    groups = range(parquet.num_row_groups) if group is None else [group]
    sizes = [parquet.metadata.row_group(each).num_rows for each in range(parquet.num_row_groups)]
    rows = sum(sizes[: group or 0])
    for batch in parquet.iter_batches(ROWS_AT_ONCE, groups, COLUMNS, use_threads=False):
        yield narrow(pa.Table.from_batches([batch]), rows)
        rows += len(batch)


def narrow(table: pa.Table, row: int) -> pa.Table:
    """Number the texts and parse the times: rows take a tenth of the memory.

    Args:
        table: The columns that are used, as text or, in Parquet, in other types.
        row: How many rows are before it.

    Raises:
        InputError: A column does not hold times; TimeError for text that is not one.
    """
    columns = {name: _encode(table[name].combine_chunks()) for name in TEXTS}
    columns |= {name: _parse_times(name, table[name].combine_chunks(), row) for name in TIMES}
    known = pc.and_(*(columns[name].is_valid() for name in TIMES))
    table = pa.table(columns)
    return table if pc.all(known).as_py() else table.filter(known)


def _encode(texts: Any) -> Any:  # noqa: ANN401  Arrow's
    if not pa.types.is_dictionary(texts.type):
        texts = texts.cast(pa.string()).dictionary_encode()
    names = texts.dictionary.cast(pa.string())
    absent = pc.is_in(names, pa.array(MISSING))
    if pc.any(absent).as_py():
        names = pc.if_else(absent, None, names)
        texts = names.take(texts.indices).dictionary_encode()
        names = texts.dictionary
    return pa.DictionaryArray.from_arrays(texts.indices.cast(pa.int32()), names)


def _parse_times(name: str, column: Any, row: int) -> Any:  # noqa: ANN401  Arrow's
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms", getattr(kind, "tz", None)), safe=False).cast(TIME)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"the column {name} holds {kind}, not times")
    encoded = column.dictionary_encode()  # a log repeats its times
    texts = encoded.dictionary
    texts = pc.if_else(pc.is_in(texts, pa.array(MISSING, texts.type)), None, texts)
    times = pc.strptime(texts, "%d/%m/%Y %H:%M", "ms", error_is_null=True)
    # Arrow takes 31/2 for 2/3, and 16 for the year 16.
    days = pc.extract_regex(texts, r"^(?P<d>\d\d?)/\d+/[12]\d{3} ").flatten()[0]
    is_wrong = pc.fill_null(pc.not_equal(days.cast("int64"), pc.day(times)), True)
    is_wrong = pc.and_(is_wrong, texts.is_valid())
    if (wrong := is_wrong.take(encoded.indices).index(True).as_py()) >= 0:
        raise TimeError(row + wrong, name, encoded[wrong].as_py())
    return times.take(encoded.indices)
