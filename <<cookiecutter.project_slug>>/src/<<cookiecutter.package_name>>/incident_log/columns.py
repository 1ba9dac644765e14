"""The columns of the log that are used, and how their values are held."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError

TEXTS = ["number", "priority"]
TIMES = ["sys_updated_at", "closed_at"]
COLUMNS = [*TEXTS, *TIMES]
TEXT, TIME = pa.dictionary(pa.int32(), pa.string()), pa.timestamp("ms")
SCHEMA = pa.schema([*((name, TEXT) for name in TEXTS), *((name, TIME) for name in TIMES)])
MISSING = ["?", ""]
ROW = 24  # bytes of a row in memory
ROWS_AT_ONCE = 200_000  # whose text is held until its values are numbered


class TimeError(InputError):
    """A time that is none, in a row."""

    def __init__(self, row: int, name: str, text: str) -> None:
        super().__init__(row, name, text)  # so that it can be pickled
        self.row, self.problem = row, f"{name} is {text!r}, not D/M/YYYY HH:MM"

    def __str__(self) -> str:
        return f"row {self.row + 1}: {self.problem}"


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
