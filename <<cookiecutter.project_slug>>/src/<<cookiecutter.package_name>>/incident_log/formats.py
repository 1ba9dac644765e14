"""Parsing CSV and Parquet files, piece by piece, to the columns that are used."""

import csv
import hashlib
import io
import re
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import IO, Any

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


def pieces(file: IO[bytes], size: int = FIRST_PIECE) -> Iterator[bytes]:
    """A CSV file in pieces of whole rows, which are not empty; an empty file is an empty piece."""
    limit = load_settings().data_max_bytes
    rest, is_first = b"", True
    while (new := file.read(size) + file.readline(1_000_000)) or rest or is_first:
        piece, is_first = rest + new, False
        size = max(size, min(PIECE, file.tell() // 50))
        check_size(file.tell(), limit)
        end = len(piece)
        if new and b'"' in piece and not (end := ROWS.match(piece).end()):  # type: ignore[union-attr]
            piece += file.read()  # a quote within a value: only the parser knows
            check_size(file.tell(), limit)
            end = len(piece)
        yield piece[:end]
        rest = piece[end:]


def parse_csv(file: IO[bytes], digest: Any = None, line: int = 0) -> list[pa.Table]:  # noqa: ANN401
    """Parse a CSV file, in threads: the file may be unpacked while it is read here.

    Args:
        file: It begins with the header.
        digest: Is updated with what was read.
        line: The line of the log after which the file's rows stand; 0: it is the log.

    Raises:
        InputError: It names the column or line.
    """
    try:
        with ThreadPoolExecutor(1) as parser, ThreadPoolExecutor(1) as hasher:
            size = PIECE if line else FIRST_PIECE
            return _parse_csv(pieces(file, size), digest, parser, hasher)
    except TimeError as error:
        file.seek(0)
        reader = csv.reader(io.TextIOWrapper(file, "utf-8", "replace", newline=""))
        lines = (reader.line_num for record in reader if record)
        header = next(lines)
        found = next(islice(lines, error.row, None)) + (line - header if line else 0)
        raise InputError(f"line {found}: {error.problem}") from None


def _parse_csv(
    csv_pieces: Iterator[bytes],
    digest: Any,  # noqa: ANN401
    parser: ThreadPoolExecutor,
    hasher: ThreadPoolExecutor,
) -> list[pa.Table]:
    waiting: deque[list[Future[Any]]] = deque()
    held: list[pa.Table] = []
    found: list[Future[pa.Table]] = []
    header, rows = b"", 0

    def take(at_least: int) -> None:
        nonlocal held, rows
        while len(waiting) > at_least:
            table, *_ = (each.result() for each in waiting.popleft())
            held.append(table)
        if (count := sum(map(len, held))) >= (ROWS_AT_ONCE if at_least else 1):
            found.append(parser.submit(narrow, pa.concat_tables(held), rows))
            held, rows = [], rows + count

    for piece in csv_pieces:
        waiting.append([parser.submit(_parse_piece, header + piece)])
        if digest:
            waiting[-1].append(hasher.submit(digest.update, piece))
        header = header or piece.lstrip(b"\r\n").partition(b"\n")[0] + b"\n"
        take(AHEAD)
    take(0)
    return [each.result() for each in found]


def _parse_piece(piece: bytes) -> pa.Table:
    names = next(csv.reader(str(piece[:16_384], "utf-8-sig", "replace").strip().splitlines()), [])
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        raise InputError(f"its header must name {wrong[0]} once; it begins with {piece[:30]!r}")
    read, split = ReadOptions(block_size=4_000_000), ParseOptions(newlines_in_values=b'"' in piece)
    convert = ConvertOptions(null_values=MISSING, strings_can_be_null=True)
    convert.include_columns, convert.column_types = COLUMNS, dict.fromkeys(COLUMNS, pa.string())
    # A copy of Arrow's: its threads may outlive this call, and then may not wait for Python's lock.
    copy = pa.BufferReader(pa.scalar(piece, pa.large_binary()).as_buffer())
    return read_csv(copy, read, split, convert)


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
