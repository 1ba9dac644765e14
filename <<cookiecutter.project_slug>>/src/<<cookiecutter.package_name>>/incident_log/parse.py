"""Reading the event log, whole or in blocks."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError, UnavailableError, explain, redact_url
from ..evaluation.blocks import MANY, release_memory
from .cache import cache_path, keep_cached, known_cached, load_cached
from .columns import COLUMNS, ROW, SCHEMA, TEXT
from .csv_file import parse_range, pieces, read_names
from .fetch import URL, check_size, fetch, in_folder, is_web, list_folder, log, read_with
from .formats import (
    hash_file,
    is_parquet,
    is_zip,
    open_parquet,
    parse_file,
    parse_parquet,
    parse_tables,
    unzipped,
)
from .sample import make_log

UCI = {"fd184bbfd62329cfe093e99da2ea7071905f2ead91900b448eb2635870821bef": "UCI incident event log"}
SAMPLE = "sample"
HINT = "check it, or take synthetic tickets: --data sample (with make: DATA=sample)"
BLOCK = 32_000_000  # bytes of a CSV file
About = dict[str, str]


def read_log(source: str | None) -> pd.DataFrame:
    """Read the event log.

    Args:
        source: A path or URL of the log: a CSV file, a zip that holds incident_event_log.csv, a
            Parquet file, or a folder of such files, which are taken in the order of their names;
            `sample` for synthetic tickets; None for UCI's log.

    Returns:
        Shape (n, 4), one row per event, in the log's order: `number` (the incident's) and
        `priority`, categories of text; `sys_updated_at` and `closed_at` as datetime64 without a
        time zone, never missing.
        `attrs["source"]` says what was read: `data`, its address or path without secrets; the
        `sha256` of the CSV or Parquet file, for a folder that of the list of its files and theirs;
        and its `name` if it is well known.

    Raises:
        InputError: It cannot be fetched or parsed. It names the file, and the column or line.
        UnavailableError: It cannot be fetched now.
    """
    path, source = cache_path(source), source or URL
    known = known_cached(path)
    try:
        table, about = _read_new(source, known)
        if table is not None:
            known = about
            keep_cached(path, table.replace_schema_metadata(known))
    except UnavailableError as error:
        if not known:
            raise
        log.warning("%s. Using the cached copy, which may be out of date", error)
        table = None
    columns = _columns(load_cached(path) if table is None else table)
    del table
    return _to_frame(columns, known)


def iter_blocks(source: str | None) -> Iterator[Callable[[], pd.DataFrame]]:
    """Divide the log into blocks, each of which can be read on its own, elsewhere.

    They are ranges of rows of a CSV file, row groups of a Parquet file, and zips and what a web
    server has as a whole. The log is read once, for its SHA-256 and to find where rows begin:
    others can read the blocks meanwhile.

    Args:
        source: As in `read_log`.

    Yields:
        Functions without arguments that can be pickled. One after the other, they return the rows
        of `read_log`; each frame's categories are those of its own rows, and the last one's
        `attrs["source"]` says what was read.

    Raises:
        InputError: As `read_log`.
    """
    whole = partial(read_log, source)
    if source is None or source == SAMPLE or is_web(source):
        yield whole
        return
    with _explained(source):
        names = list_folder(source)
    urls = [source] if names is None else [in_folder(source, name) for name in names]
    digests: list[str] = []
    last, count = None, 0
    for block in (block for url in urls for block in _divide(url, digests)):
        if last:
            yield last
        last, count = block, count + 1
    if last is None or (names is None and count == 1):
        yield whole
        return
    sha256 = digests[0] if names is None else _combine(names, digests)
    about = {"data": redact_url(source), "sha256": sha256, "name": UCI.get(sha256, "")}
    yield partial(last, about=about)


def _read_new(source: str, known: About) -> tuple[pa.Table | None, About]:
    """The log, None if it is the known one, and what to remember about it."""
    with _explained(source):
        names = None if source == SAMPLE else list_folder(source)
        if names is None:
            return _read_new_file(source, known)
    urls = [in_folder(source, name) for name in names]
    if known and known["file"] == _combine(names, map(_hash, urls)):
        return None, known
    tables, contents, files = [], [], []
    for url in urls:
        with _explained(url), _open(url) as file:
            found, sha256, digest = _parse(file)
            tables += found
            check_size(ROW * sum(map(len, tables)))
            contents.append(sha256)
            files.append(digest)
    about = {"data": redact_url(source), "name": "", "sha256": _combine(names, contents)}
    with _explained(source):
        return _join(tables), {**about, "file": _combine(names, files)}


def _read_new_file(source: str, known: About) -> tuple[pa.Table | None, About]:
    file: IO[bytes] | None = io.BytesIO()
    about = {"data": SAMPLE, "name": "synthetic sample"}
    if source == SAMPLE:
        file = io.BytesIO(make_log())
    else:
        file, about = fetch(source, known)
    if file is None:
        return None, known
    with file:
        if known and hash_file(file) == known["file"]:
            return None, known
        tables, sha256, digest = _parse(file)
    about = {"name": UCI.get(sha256, ""), **about, "sha256": sha256, "file": digest}
    return _join(tables), about


def _parse(file: IO[bytes]) -> tuple[list[pa.Table], str, str]:
    """Tables, the SHA-256 of the CSV or Parquet file, and that of the file itself."""
    digest = hash_file(file) if is_zip(file) else ""  # others are hashed while they are parsed
    tables, sha256 = parse_file(file)
    return tables, sha256, digest or sha256


def _open(source: str) -> Any:  # noqa: ANN401  a file
    return fetch(source, {})[0]


def _hash(source: str) -> str:
    with _explained(source), _open(source) as file:
        return hash_file(file)


def _combine(names: list[str], digests: Iterable[str]) -> str:
    """The SHA-256 of a folder's files."""
    lines = (f"{digest}  {name}\n" for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _join(tables: list[pa.Table]) -> pa.Table:
    if not any(map(len, tables)):
        raise InputError("it holds no events, only a header")
    return _unify(tables)


def _unify(tables: list[pa.Table]) -> pa.Table:
    """One table, in whose columns a number stands for the same text everywhere."""
    return pa.concat_tables(tables or [SCHEMA.empty_table()]).unify_dictionaries()


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _divide(source: str, digests: list[str]) -> Iterator[Callable[..., pd.DataFrame]]:
    """A file's blocks, which can be told what was read; and, at the end, its content's SHA-256."""
    with _explained(source), _open(source) as file, ThreadPoolExecutor(1) as hasher:
        if is_parquet(file):
            groups = open_parquet(file).num_row_groups
            parts = (partial(parse_parquet, group=group) for group in range(groups))
            yield from (partial(_read_block, source, parse) for parse in parts)
            digests.append(hash_file(file))
            return
        digest, hashing = hashlib.sha256(), Future[None]()
        hashing.set_result(None)
        names: list[str] | None = None
        start, stop, any_quotes = 0, 0, False

        def find_block() -> Callable[..., pd.DataFrame]:
            known = names if start else None  # else the rows begin with them
            parse = partial(parse_range, start=start, stop=stop, names=known, has_quotes=any_quotes)
            return partial(_read_block, source, parse if csv is file else parse_tables)

        for piece, has_quotes in pieces(csv := unzipped(file)):
            if csv is file and stop - start >= BLOCK:
                yield find_block()
                start, any_quotes = stop, False
            names = names or read_names(piece)
            stop, any_quotes = stop + piece.size, any_quotes or has_quotes
            hashing.result()
            hashing = hasher.submit(digest.update, piece)
        yield find_block()
        hashing.result()
        digests.append(digest.hexdigest())


def _read_block(
    source: str, parse: Callable[[IO[bytes]], Iterable[pa.Table]], about: About | None = None
) -> pd.DataFrame:
    """A file, or a part of it, as the function parses it."""
    with _explained(source):
        return _to_frame(_columns(_unify(read_with(source, parse))), about)


def _to_frame(columns: dict[str, pa.ChunkedArray], about: About | None) -> pd.DataFrame:
    """Make a frame of columns, which are taken from the dictionary: each is held once."""
    made, is_large = {}, len(columns[COLUMNS[0]]) > MANY
    for name in COLUMNS:
        made[name] = _to_pandas(columns.pop(name))
        if is_large:
            release_memory()  # Arrow keeps what it has used for itself
    frame = pd.DataFrame(made, copy=False)
    if about:
        frame.attrs["source"] = {key: about[key] or None for key in ("data", "sha256", "name")}
    return frame


def _to_pandas(column: pa.ChunkedArray) -> Any:  # noqa: ANN401  pandas'
    if column.type != TEXT:
        parts = [each.to_numpy() for each in column.chunks]
        return np.concatenate([np.empty(0, "datetime64[ms]"), *parts])  # not in Arrow's memory
    if not column.num_chunks:  # a block of which no row has both times
        column = pa.chunked_array([pa.array([], TEXT)])
    names = column.chunk(0).dictionary.to_pandas()
    codes = pa.chunked_array([each.indices for each in column.chunks]).fill_null(-1)
    smallest = np.min_scalar_type(-len(names) - 1)
    codes = codes.to_numpy().astype(smallest, copy=False)
    # CategoricalDtype(names) makes a Python text of each name, to see that they differ.
    kind: Any = pd.CategoricalDtype
    dtype = kind._from_fastpath(pd.Index(names, copy=False), ordered=False)
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


@contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zip files, Arrow and each store raise their own
        raise explain(error, f"data: cannot read {redact_url(source)}", HINT) from error
