"""Reading the event log: it is parsed once, and then taken from the cache."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from ..errors import InputError, UnavailableError, explain, redact_url
from ..evaluation.files import atomic_write
from ..settings import load_settings
from .fetch import URL, check_size, fetch, log
from .sample import make_log

MEMBER = "incident_event_log.csv"
TIMES = ["sys_updated_at", "closed_at"]
COLUMNS = ["number", "priority", *TIMES]
UCI = {"fd184bbfd62329cfe093e99da2ea7071905f2ead91900b448eb2635870821bef": "UCI incident event log"}
HINT = "check it, or take synthetic tickets: --data sample (with make: DATA=sample)"


def read_log(source: str | None) -> pd.DataFrame:
    """Read the event log.

    Args:
        source: A path or URL of the log, a CSV file or a zip that holds incident_event_log.csv;
            `sample` for synthetic tickets; None for UCI's log.

    Returns:
        Shape (n, 4), one row per event, in the log's order: `number` (the incident's) and
        `priority` as text, `sys_updated_at` and `closed_at` as datetime64 without a time zone,
        never missing.
        `attrs["source"]` says what was read: `data`, its address or path without secrets, the
        `sha256` of the CSV file, and its `name` if it is well known.

    Raises:
        InputError: It cannot be fetched or parsed. It names the column or line.
        UnavailableError: It cannot be fetched now.
    """
    # Raise the number when the same file is parsed differently.
    path = load_settings().cache / f"{_sha256(f'3 {source}'.encode())[:16]}.arrow"
    table, known = _read_cached(path)
    try:
        sample = {"data": "sample", "name": "synthetic sample"}
        content, about = (make_log(), sample) if source == "sample" else fetch(source or URL, known)
        if content is not None and (digest := _sha256(content)) != known.get("file"):
            table, sha256 = _parse(content)
            known = {"name": UCI.get(sha256, ""), **about, "sha256": sha256, "file": digest}
            _keep_cached(path, table.replace_schema_metadata(known))
    except Exception as error:  # zip files, Arrow and each store raise their own
        explained = explain(error, f"data: cannot read {redact_url(source or URL)}", HINT)
        if not (known and isinstance(explained, UnavailableError)):
            raise explained from error
        log.warning("%s. Using the cached copy, which may be out of date", explained)
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs["source"] = {key: known[key] or None for key in ("data", "sha256", "name")}
    return frame


def _keep_cached(path: Path, table: pa.Table) -> None:
    feather.write_feather(table, file := io.BytesIO())
    try:
        atomic_write(path, _sha256(file.getvalue()).encode() + file.getvalue(), replace=True)
    except OSError as error:  # it only costs time
        log.warning("data: not cached: cannot write to %s: %s", path.parent, error.strerror)


def _read_cached(path: Path) -> tuple[Any, dict[str, str]]:
    with suppress(OSError):
        content = pa.OSFile(str(path)).read_buffer()
        if content[:64].to_pybytes() == _sha256(content[64:]).encode():
            table = feather.read_table(pa.BufferReader(content[64:]))
            return table, {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        log.warning("data: ignoring the cached file %s, which is damaged", path)
    return None, {}


def _sha256(content: Any) -> str:  # noqa: ANN401  bytes, or Arrow's buffer
    return hashlib.sha256(content).hexdigest()


def _parse(content: bytes) -> tuple[pa.Table, str]:
    """The rows of a CSV or zip file that have both times, and the SHA-256 of the CSV file."""
    digest = hashlib.sha256()
    # While a piece is unzipped here, threads parse and hash those before it.
    with _open(content) as file, ThreadPoolExecutor(1) as parser, ThreadPoolExecutor(1) as hasher:
        pieces = _pieces(file, lambda piece: hasher.submit(digest.update, piece))
        table = pa.concat_tables(parser.map(_parse_piece, pieces)).combine_chunks()
    if not table.num_rows:
        raise InputError("it holds no events, only a header")
    for name in TIMES:
        encoded = table[name].chunk(0).dictionary_encode()  # a log repeats its times
        times = pc.strptime(encoded.dictionary, "%d/%m/%Y %H:%M", "ms", error_is_null=True)
        # Arrow takes 31/2 for 2/3, and 16 for the year 16.
        days = pc.extract_regex(encoded.dictionary, r"^(?P<d>\d\d?)/\d+/[12]\d{3} ").flatten()[0]
        is_wrong = pc.fill_null(pc.not_equal(days.cast("int64"), pc.day(times)), True)
        if (row := is_wrong.take(encoded.indices).index(True).as_py()) >= 0:
            reader = csv.reader(io.TextIOWrapper(_open(content), "utf-8", "replace", newline=""))
            line = [reader.line_num for record in reader if record][row + 1]
            raise InputError(f"line {line}: {name} is {encoded[row].as_py()!r}, not D/M/YYYY HH:MM")
        table = table.set_column(COLUMNS.index(name), name, times.take(encoded.indices))
    return table.filter(pc.and_(*(table[name].is_valid() for name in TIMES))), digest.hexdigest()


def _open(content: bytes) -> IO[bytes]:
    if not content.startswith(b"PK"):
        return io.BytesIO(content)
    archive = zipfile.ZipFile(io.BytesIO(content))
    member = archive.NameToInfo.get(MEMBER)
    # Of other methods zipfile unpacks a block whole, however large it becomes.
    if member is None or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"it must hold {MEMBER}, deflated or stored, not {archive.namelist()[:3]}")
    return archive.open(member)


def _pieces(file: IO[bytes], read_along: Callable[[bytes], object]) -> Iterator[bytes]:
    """The CSV file in pieces of whole lines, each with the header; at least one piece."""
    header, limit = b"", load_settings().data_max_bytes
    while (piece := file.read(300_000) + file.readline(1_000_000)) or not header:
        piece += file.read(limit) if b'"' in piece else b""  # quotes may enclose line breaks
        check_size(file.tell(), limit)
        read_along(piece)
        yield header + piece
        header = header or piece.lstrip(b"\r\n").partition(b"\n")[0] + b"\n"


def _parse_piece(piece: bytes) -> pa.Table:
    names = next(csv.reader(str(piece[:16_384], "utf-8-sig", "replace").strip().splitlines()), [])
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        raise InputError(f"its header must name {wrong[0]} once; it begins with {piece[:30]!r}")
    read, split = ReadOptions(block_size=4_000_000), ParseOptions(newlines_in_values=b'"' in piece)
    convert = ConvertOptions(null_values=["?", ""], strings_can_be_null=True)
    convert.include_columns, convert.column_types = COLUMNS, dict.fromkeys(COLUMNS, pa.string())
    # A copy of Arrow's: its threads may outlive this call, and then may not wait for Python's lock.
    copy = pa.BufferReader(pa.scalar(piece, pa.large_binary()).as_buffer())
    return read_csv(copy, read, split, convert)
