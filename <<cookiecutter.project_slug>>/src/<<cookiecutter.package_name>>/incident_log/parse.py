"""Reading some columns of a CSV file, zipped or not, from a path or a URL; parsed once, then kept as Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from .fetch import NotFoundError, fetch
from ..errors import InputError, redact_url
from ..evaluation.files import keep, read_kept
from ..settings import load_settings

VERSION = "2"  # of what is kept as Parquet; raise it when the same file is to be parsed differently


def read_csv(
    source: str | bytes,
    *,
    member: str,
    columns: Sequence[str],
    times: Sequence[str],
    time_format: str,
    older_url: str | None = None,
) -> pd.DataFrame:
    """Read some columns of a CSV file; the second time, out of the cache.

    Args:
        source: A path or a URL of the file, or a zip that holds it; or the zip itself.
        member: The file's name in the zip.
        columns: Columns to read as text; `?` and nothing are missing values.
        times: Columns to read as times.
        time_format: Their format, as of strftime.
        older_url: Tried where `source` is a URL that answers 404.

    Returns:
        Shape (n, len(times) + len(columns)), rows in the file's order; `attrs["source"]` holds `data`, what
        was read, without secrets, and `sha256` of the CSV file.

    Raises:
        InputError: When it cannot be fetched or read: with the column or line, where it is one.
    """
    try:
        content, shown, keep_download = _content(source)
    except NotFoundError:
        if older_url is None:
            raise
        content, shown, keep_download = _content(older_url)
    asked = ",".join([VERSION, pa.__version__, str(source), member, *columns, *times, time_format])
    path = load_settings().cache / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.parquet"
    file = hashlib.sha256(content).hexdigest()
    kept = None if isinstance(source, bytes) else read_kept(path)
    if kept and kept[0]["file"] == file:
        sha256, table = kept[0]["sha256"], pq.ParquetFile(pa.BufferReader(kept[1])).read()
    else:
        table, sha256 = _parse(content, member, columns, times, time_format, shown)
        if not isinstance(source, bytes):
            pq.write_table(table, parquet := io.BytesIO())
            keep(path, {"file": file, "sha256": sha256}, parquet.getvalue())
    keep_download()
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs["source"] = {"data": shown, "sha256": sha256}
    return frame


def _content(source: str | bytes) -> tuple[bytes, str, Callable[[], None]]:
    """The file, its name for people, and what puts it into the cache once it has been read."""
    if isinstance(source, bytes):
        return source, "sample", lambda: None
    if "://" in source:
        content, keep = fetch(source)
        return content, redact_url(source), keep
    try:
        return Path(source).expanduser().read_bytes(), source, lambda: None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"data: cannot read {source}: {reason}; give a path, a URL or `sample`") from None


class _Csv:
    """The CSV file itself, unzipped while it is read; hashed, and searched for quotes, on the way."""

    def __init__(self, content: bytes, member: str, shown: str) -> None:
        self._file: IO[bytes] = io.BytesIO(content)
        if content.startswith(b"PK"):
            archive = zipfile.ZipFile(self._file)
            if member not in archive.namelist():
                found = ", ".join(archive.namelist()[:5]) or "nothing"
                raise InputError(f"data: {shown} holds no {member}, but {found}; give the zip that holds it")
            self._file = archive.open(member)
        elif not shown.lower().endswith(".csv"):
            start = content[:30].decode("ascii", "replace").replace("\n", " ")
            raise InputError(f"data: {shown} is neither a zip nor a .csv, it begins with {start!r}; check the address")
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)  # so that unzipping need not wait
        self.quoted = self.closed = False

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._file.read(size)
        self._thread.submit(self._hash.update, chunk)
        self.quoted = self.quoted or b'"' in chunk
        return chunk

    @property
    def sha256(self) -> str:
        """Of what has been read."""
        self._thread.shutdown()
        return self._hash.hexdigest()


def _parse(
    content: bytes, member: str, columns: Sequence[str], times: Sequence[str], time_format: str, shown: str
) -> tuple[pa.Table, str]:
    try:
        table, sha256 = _read_columns(content, member, [*times, *columns], shown)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"data: {shown} is a damaged zip ({error}); get it anew") from None
    if not table.num_rows:
        raise InputError(f"data: the log in {shown} is empty; give one with at least one ticket under its header")
    for name in times:
        # A log repeats its times: each is parsed once.
        encoded = table[name].combine_chunks().dictionary_encode()
        parsed, wrong = _parse_times(encoded.dictionary, time_format)
        if wrong:
            row = min(encoded.indices.index(pa.scalar(index, encoded.indices.type)).as_py() for index in wrong)
            line = _line(_Csv(content, member, shown).read(), row)
            problem = f"{name} is {encoded[row].as_py()!r}, which is no time of the form {time_format}"
            raise InputError(f"data: line {line} of the log in {shown}: {problem}; mend that line")
        table = table.set_column(table.column_names.index(name), name, parsed.take(encoded.indices))
    return table, sha256


def _read_columns(content: bytes, member: str, names: list[str], shown: str) -> tuple[pa.Table, str]:
    """The columns as text, and the SHA-256 of the CSV file."""
    convert = pa.csv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        null_values=["?", ""],
        strings_can_be_null=True,
    )
    # Line breaks in quoted values cost time, so they are allowed for only where there are quotes at all.
    for quoted in (False, True):
        file = _Csv(content, member, shown)
        parse = pa.csv.ParseOptions(newlines_in_values=quoted)
        problem = None
        try:
            table = pa.csv.read_csv(pa.PythonFile(file, mode="r"), parse_options=parse, convert_options=convert)
        except pa.ArrowKeyError as error:
            problem = f"has no column {str(error).split(chr(39))[1]}; its header must name it"
        except pa.ArrowInvalid as error:
            problem = "is empty" if "Empty CSV" in str(error) else f"cannot be read: {str(error).splitlines()[0]}"
            problem += "; give one with a header and tickets under it, of as many columns"
        if not file.quoted:
            break
    if problem:
        raise InputError(f"data: the log in {shown} {problem}")
    return table, file.sha256


def _parse_times(texts: pa.Array, time_format: str) -> tuple[pa.Array, list[int]]:
    """The times, and the indices of those that are none."""
    # Milliseconds, as Parquet knows nothing coarser: so the first reading and the later ones are of one type.
    parsed = pc.strptime(texts, format=time_format, unit="ms", error_is_null=True)
    # Arrow reads 31 February as 2 March. What comes out as one of a month's first three days, and was written with
    # one of its last three, is read again, by pandas, which is slower and stricter.
    suspects = pc.indices_nonzero(pc.fill_null(pc.less_equal(pc.day(parsed), 3), False))
    suspects = suspects.filter(pc.match_substring_regex(texts.take(suspects), "29|30|31"))
    strict = pd.to_datetime(texts.take(suspects).to_pandas(), format=time_format, errors="coerce")
    wrong = suspects.filter(pa.array(strict.isna())).to_pylist()
    return parsed, wrong + pc.indices_nonzero(pc.is_null(parsed)).to_pylist()


def _line(text: bytes, row: int) -> int:
    """The line that a row ends on: a quoted value may hold line breaks, and empty lines are no rows."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text.decode("utf-8", "replace").replace("\0", " "), newline=""))
    lines = (reader.line_num for fields in reader if fields)
    return next(itertools.islice(lines, row + 1, None))
