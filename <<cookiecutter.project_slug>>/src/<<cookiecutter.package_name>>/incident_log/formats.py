"""Parsing CSV and Parquet files, zipped or not, to the columns that are used."""

import hashlib
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from ..errors import InputError
from .columns import COLUMNS, ROW, ROWS_AT_ONCE, TEXTS, narrow
from .csv_file import parse_csv
from .fetch import check_size

MEMBER = "incident_event_log.csv"


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


def parse_tables(file: IO[bytes]) -> list[pa.Table]:
    """The tables of `parse_file`."""
    return parse_file(file)[0]


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
