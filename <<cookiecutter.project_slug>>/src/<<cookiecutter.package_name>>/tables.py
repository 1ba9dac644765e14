"""Reading some columns of a CSV file, zipped or not, from a path or a URL; parsed once, then kept as Parquet."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from .download import NotFoundError, fetch, is_url, without_secrets, write_whole
from .errors import InputError
from .settings import load_settings

MISSING = "?"
VERSION = "1"  # of what is kept as Parquet; raise it when the same file is to be parsed differently
log = logging.getLogger(__name__)


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
        content, shown = _content(source)
    except NotFoundError:
        if older_url is None:
            raise
        content, shown = _content(older_url)
    parsed = ",".join([VERSION, member, *columns, *times, time_format])
    name = f"{hashlib.sha256(content).hexdigest()}-{hashlib.sha256(parsed.encode()).hexdigest()[:8]}.parquet"
    kept = load_settings().cache / name
    table = _read_kept(kept) if isinstance(source, str) else None
    if table is None:
        csv = _csv(content, member, shown)
        table = _parse(csv, columns, times, time_format, shown)
        table = table.replace_schema_metadata({"sha256": hashlib.sha256(csv).hexdigest()})
        if isinstance(source, str):
            _keep(table, kept)
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    assert table.schema.metadata is not None
    frame.attrs["source"] = {"data": shown, "sha256": table.schema.metadata[b"sha256"].decode()}
    return frame


def _content(source: str | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, "sample"
    if is_url(source):
        return fetch(source), without_secrets(source)
    path = Path(source).expanduser()
    try:
        return path.read_bytes(), source
    except OSError as error:
        raise InputError(f"data: cannot read {source}: {error.strerror}; give a path, a URL or `sample`") from None


def _csv(content: bytes, member: str, shown: str) -> bytes:
    """The CSV file itself, unzipped where it is zipped."""
    if not content.startswith(b"PK"):
        if shown.endswith(".csv"):
            return content
        start = content[:30].decode("ascii", "replace").replace("\n", " ")
        raise InputError(f"data: {shown} is neither a zip nor a .csv file, it begins with {start!r}; check the address")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if member not in archive.namelist():
                found = ", ".join(archive.namelist()[:5]) or "nothing"
                raise InputError(f"data: {shown} holds no {member}, but {found}; give the zip that holds it")
            return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"data: {shown} is a damaged zip ({error}); get it anew") from None


def _parse(csv: bytes, columns: Sequence[str], times: Sequence[str], time_format: str, shown: str) -> pa.Table:
    names = [*times, *columns]
    if not csv.strip():
        raise InputError(f"data: the log in {shown} is empty; give one with a header and at least one ticket")
    header = csv[: csv.find(b"\n") + 1 or None].decode("utf-8", "replace").strip().lstrip("\ufeff")
    missing = sorted(set(names) - {name.strip('"') for name in header.split(",")})
    if missing:
        raise InputError(f"data: the log in {shown} has no column {', '.join(missing)}; its header must name it")
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(csv),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[MISSING, ""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"data: the log in {shown} cannot be read: {str(error).splitlines()[0]}") from None
    if not table.num_rows:
        raise InputError(f"data: the log in {shown} is empty; give one with at least one ticket under its header")
    for name in times:
        table = table.set_column(
            table.column_names.index(name), name, _parse_times(table[name], name, time_format, shown)
        )
    return table


def _parse_times(texts: pa.ChunkedArray, name: str, time_format: str, shown: str) -> pa.ChunkedArray:
    # Milliseconds, as Parquet knows nothing coarser: so the first reading and the later ones are of one type.
    parsed = pc.strptime(texts, format=time_format, unit="ms", error_is_null=True)
    # Arrow reads 31 February as 2 March. What comes out as one of a month's first three days is read again, by
    # pandas, which is slower and stricter.
    suspects = pc.indices_nonzero(pc.fill_null(pc.less_equal(pc.day(parsed), 3), False))
    strict = pd.to_datetime(texts.take(suspects).to_pandas(), format=time_format, errors="coerce")
    wrong = [*suspects.filter(pa.array(strict.isna())).to_pylist()]
    wrong += pc.indices_nonzero(pc.and_(pc.is_null(parsed), pc.is_valid(texts))).to_pylist()
    if wrong:
        row = min(wrong)
        raise InputError(
            f"data: line {row + 2} of the log in {shown}: {name} is {texts[row].as_py()!r}, "
            f"which is no time of the form {time_format}; mend that line"
        )
    return parsed


def _read_kept(path: Path) -> pa.Table | None:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        return table if b"sha256" in (table.schema.metadata or {}) else None
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError) as error:
        log.warning("%s is damaged (%s): parsing the log anew", path, str(error).splitlines()[0])
        return None


def _keep(table: pa.Table, path: Path) -> None:
    """Keep the table for the next time; that it cannot be kept costs time, not the trial."""
    parquet = io.BytesIO()
    pq.write_table(table, parquet, write_page_checksum=True)
    try:
        write_whole(path, parquet.getvalue())
    except OSError as error:
        log.warning("the parsed log is not kept: cannot write %s: %s", path, error.strerror)
