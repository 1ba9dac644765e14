"""Read the used columns out of the zip, several times: `read_zip.py LIBRARY ZIP`.

LIBRARY is `inflate` (nothing else), pyarrow, polars or duckdb, or a generated project's package:
then all that `read_log` does where nothing is cached is timed, its SHA-256, its checks and its
Parquet file included. Prints the seconds as JSON.
"""

import importlib
import json
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path

library, log = sys.argv[1:]
MEMBER, TIMES, TEXTS, FORMAT = (
    "incident_event_log.csv",
    ["sys_updated_at", "closed_at"],
    ["priority"],
    "%d/%m/%Y %H:%M",
)


def inflate():
    with zipfile.ZipFile(log) as archive:
        return archive.read(MEMBER)


def with_pyarrow():
    import pyarrow as pa
    import pyarrow.csv

    types = {**dict.fromkeys(TIMES, pa.timestamp("s")), **dict.fromkeys(TEXTS, pa.string())}
    options = pa.csv.ConvertOptions(
        include_columns=[*TIMES, *TEXTS],
        column_types=types,
        timestamp_parsers=[FORMAT],
        null_values=["?"],
        strings_can_be_null=True,
    )
    return pa.csv.read_csv(pa.BufferReader(inflate()), convert_options=options).num_rows


def with_polars():
    import polars as pl

    table = pl.read_csv(
        inflate(),
        columns=[*TIMES, *TEXTS],
        null_values=["?"],
        schema_overrides=dict.fromkeys(TIMES, pl.String),
    )
    return table.with_columns(pl.col(name).str.to_datetime(FORMAT) for name in TIMES).height


def with_duckdb():
    import duckdb

    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        file = Path(folder, MEMBER)
        file.write_bytes(inflate())  # it reads files only
        times = ", ".join(f"strptime({name}, '{FORMAT}') AS {name}" for name in TIMES)
        csv = f"read_csv('{file}', all_varchar=true, nullstr='?')"
        query = f"SELECT {times}, {', '.join(TEXTS)} FROM {csv}"
        return duckdb.sql(query).arrow().read_all().num_rows


def with_project():
    parse = importlib.import_module(f"{library}.incident_log.parse")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CACHE_DIR"] = cache
        return len(parse.read_log(log))


work = {
    "inflate": inflate,
    "pyarrow": with_pyarrow,
    "polars": with_polars,
    "duckdb": with_duckdb,
}.get(library, with_project)
work()  # imports, and threads that stay
seconds = []
for _ in range(5):
    start = time.perf_counter()
    rows = work()
    seconds.append(time.perf_counter() - start)
assert library == "inflate" or rows == 141_712, rows
print(json.dumps(seconds))
