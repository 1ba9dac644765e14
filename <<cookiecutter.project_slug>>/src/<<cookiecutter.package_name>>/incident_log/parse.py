"""Reading the event log: it is parsed once, and then taken from the cache."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import feather

from ..errors import InputError, UnavailableError, describe, redact_url, root_cause
from ..evaluation.files import atomic_write
from ..settings import load_settings
from .fetch import check_size, fetch
from .sample import make_log

# UCI's address today, and an older one.
URL = "https://archive.ics.uci.edu/static/public/498/incident+management+process+enriched+event+log.zip"
OLDER_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00498/incident_event_log.zip"
MEMBER = "incident_event_log.csv"
TIMES = ["sys_updated_at", "closed_at"]
COLUMNS = ["number", "priority", *TIMES]
UCI_SHA256 = "fd184bbfd62329cfe093e99da2ea7071905f2ead91900b448eb2635870821bef"
VERSION = 3  # of what is cached; raise it when the same file is parsed differently
PIECE = 1_000_000  # bytes
SAMPLE = "check it, or take synthetic tickets: --data sample (make: DATA=sample)"
log = logging.getLogger(__name__)


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
    path = load_settings().cache / f"{_sha256(f'{VERSION} {source}'.encode())[:16]}.arrow"
    table: Any = _read_cached(path)
    known = json.loads(table.schema.metadata[b"source"]) if table else {}
    try:
        content, about = _fetch(source, known)
        if content is not None and (digest := _sha256(content)) != known.get("file"):
            table, sha256 = _parse(content)
            name = "UCI incident event log" if sha256 == UCI_SHA256 else None
            known = {"name": name, **about, "sha256": sha256, "file": digest}
            table = table.replace_schema_metadata({"source": json.dumps(known)})
            _keep_cached(path, table)
    except Exception as error:  # zip files, Arrow and each store raise their own
        cause = root_cause(error)
        problem = f"data: cannot read {redact_url(source or URL)}: {describe(cause)}"
        transient = isinstance(cause, (UnavailableError, ConnectionError, TimeoutError))
        if not (known and transient):
            kind = UnavailableError if transient else InputError
            raise kind(f"{problem}; {SAMPLE}") from error
        log.warning("%s. Using the cached copy, which may be out of date", problem)
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs["source"] = {name: known[name] for name in ("data", "sha256", "name")}
    return frame


def _fetch(source: str | None, known: dict[str, str]) -> tuple[bytes | None, dict[str, str]]:
    if source == "sample":
        return make_log(), {"data": source, "name": "synthetic sample"}
    return fetch(source, known=known) if source else fetch(URL, OLDER_URL, known=known)


def _keep_cached(path: Path, table: pa.Table) -> None:
    feather.write_feather(table, file := io.BytesIO())
    try:
        atomic_write(path, _sha256(file.getvalue()).encode() + file.getvalue(), replace=True)
    except OSError as error:  # it only costs time
        log.warning("data: not cached: cannot write to %s: %s", path.parent, error.strerror)


def _read_cached(path: Path) -> pa.Table | None:
    with suppress(OSError):
        if not path.exists():
            return None
        content = memoryview(path.read_bytes())
        if content[:64] == _sha256(content[64:]).encode():
            return feather.read_table(pa.BufferReader(content[64:]))
    log.warning("data: ignoring the cached file %s, which is damaged", path)
    return None


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def _parse(content: bytes) -> tuple[pa.Table, str]:
    """The rows of a CSV or zip file that have both times, and the SHA-256 of the CSV file."""
    digest = hashlib.sha256()
    # The thread parses a piece while the next one is unzipped here.
    with _open(content) as file, ThreadPoolExecutor(1) as pool:
        table = pa.concat_tables(pool.map(_parse_piece, _pieces(file, digest))).combine_chunks()
    if not table.num_rows:
        raise InputError("it holds no events; give a log with at least one under its header")
    for name in TIMES:
        encoded = table[name].chunk(0).dictionary_encode()  # a log repeats its times
        texts = encoded.dictionary
        times = pc.strptime(texts, format="%d/%m/%Y %H:%M", unit="ms", error_is_null=True)
        # Arrow takes 31/2 for 2/3, and 16 for the year 16.
        days = pc.extract_regex(texts, r"^(?P<day>\d{1,2})/\d{1,2}/[12]\d{3} ").field("day")
        is_wrong = pc.fill_null(pc.not_equal(days.cast("int64"), pc.day(times)), True)
        row = is_wrong.take(encoded.indices).index(True).as_py()
        if row >= 0:
            reader = csv.reader(io.TextIOWrapper(_open(content), "utf-8", "replace", newline=""))
            line = [reader.line_num for record in reader if record][row + 1]
            problem = f"{name} is {encoded[row].as_py()!r}, not a time like 29/2/2016 01:16"
            raise InputError(f"line {line}: {problem}; fix that line")
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


def _pieces(file: IO[bytes], digest: Any) -> Iterator[bytes]:  # noqa: ANN401
    """The CSV file in pieces of whole lines, each with the header; at least one piece."""
    header, size = b"", 0
    while (piece := file.read(PIECE) + file.readline(PIECE)) or not header:
        if b'"' in piece:  # from here on, a line break may be within quotes
            piece += file.read(load_settings().data_max_bytes)
        size += len(piece)
        check_size(size)
        digest.update(piece)
        yield header + piece
        header = header or piece.lstrip(b"\r\n").partition(b"\n")[0] + b"\n"


def _parse_piece(piece: bytes) -> pa.Table:
    start = io.StringIO(piece[:65_536].decode("utf-8-sig", "replace"), newline="")
    names = next(filter(None, csv.reader(start)), [])
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        problem = f"its header must name the column {wrong[0]} once"
        raise InputError(f"{problem}, and the file begins with {piece[:30]!r}; give the event log")
    return arrow_csv.read_csv(
        pa.BufferReader(piece),
        arrow_csv.ReadOptions(use_threads=False, block_size=2 * PIECE),
        arrow_csv.ParseOptions(newlines_in_values=b'"' in piece),
        arrow_csv.ConvertOptions(
            include_columns=COLUMNS,
            column_types=dict.fromkeys(COLUMNS, pa.string()),
            null_values=["?", ""],
            strings_can_be_null=True,
        ),
    )
