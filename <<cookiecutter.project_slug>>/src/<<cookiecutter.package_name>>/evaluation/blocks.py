"""Rows that are read and predicted in blocks, elsewhere: what a trial needs of them comes back.

Values that repeat come back as small numbers, so that a row takes some 20 bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError
from .checks import MAX_COLUMNS
from .pairs import Array, as_array, check_index, number, order_classes
from .scoring import Scoring
from .selection import Selection, as_utc

MANY = 1_000_000  # rows: to hold less of them is worth some time
Packed = tuple[Array | None, Any]  # a number for each row and what it stands for; or the values


@dataclass(frozen=True)
class Block:
    """What comes back of a block of rows.

    Attributes:
        source: What was read, if data.py says so.
        columns: By name, of the rows; where only the presence of a value counts, nothing else.
        values: By function, what it computed: a column, or one for each class. A block without
            rows has neither.
        group: The column that only says which rows belong together, if there is one.
    """

    source: Any
    columns: dict[Any, Packed] = field(default_factory=dict)
    values: dict[str, list[Packed]] = field(default_factory=dict)
    group: Any = None


@dataclass(frozen=True)
class Computed:
    """All rows, with what was computed of them.

    Attributes:
        rows: Shape (n, any), as far as a trial needs them, in the order of the source.
        values: By function, what it computed: a column of shape (n,), or one for each class.
    """

    rows: pd.DataFrame
    values: Mapping[str, Sequence[Any]]

    def pick(self, batch: pd.DataFrame, function: str) -> Array:
        """What a function computed for a batch.

        Args:
            batch: Drawn from `rows`.
            function: Its name.

        Returns:
            Shape (batch,), or (batch, classes) for probabilities.
        """
        # As many rows as there are: they were not drawn, and are in their order.
        rows = slice(None) if len(batch) == len(self.rows) else batch.index.to_numpy()
        columns = [np.asarray(each[rows]) for each in self.values[function]]
        return columns[0] if len(columns) == 1 else np.column_stack(columns)


def pack_block(
    rows: pd.DataFrame,
    found: Mapping[str, Any],
    selection: Selection,
    scoring: Scoring,
    closed_at: str,
) -> Block:
    """Keep what a trial needs of a block of rows.

    Args:
        rows: Shape (n, any).
        found: By function, what it returned; `get_target` actual values, all others predictions.
        selection: What was asked for.
        scoring: What is measured.
        closed_at: The column of closing times.

    Raises:
        InputError: A function returned something that is not of these rows.
    """
    columns: dict[Any, Packed] = {}
    kept = {scoring.group, *scoring.segments}
    for place, name in enumerate(rows):
        column = rows[name]
        if name == closed_at and selection.window:
            columns[name] = _pack(as_utc(column).to_numpy())
        elif name in kept:
            columns[name] = _number_all(column)
        elif name == closed_at or place < MAX_COLUMNS:
            columns[name] = _presence(column)
    values = {}
    for name, each in found.items():
        check_index(found["get_target"], each)
        ordered = order_classes(scoring, each) if isinstance(each, pd.DataFrame) else each
        array, _ = as_array(name, ordered, len(rows))
        values[name] = [_pack(part) for part in (array.T if array.ndim > 1 else [array])]
    group = None if scoring.group in scoring.segments else scoring.group
    return Block(rows.attrs.get("source"), columns, values, group)


def narrow_rows(rows: pd.DataFrame, scoring: Scoring) -> pd.DataFrame:
    """Keep what a trial needs of rows once their predictions are there.

    Args:
        rows: Shape (n, any).
        scoring: What is measured.

    Returns:
        The same rows and columns; where only the presence of a value counts, nothing else is kept.
    """
    if not rows.columns.is_unique:
        return rows
    kept = {scoring.group, *scoring.segments}
    columns = {
        name: column if name in kept else _as_categorical(*_presence(column))
        for name, column in rows.items()
    }
    frame = pd.DataFrame(columns, rows.index, copy=False)
    frame.attrs = rows.attrs
    return frame


def release_memory() -> None:
    """Give back to the system what Arrow and the C library keep for later use; that takes time."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError, TypeError):  # only the GNU C library can do so
        ctypes.CDLL(None).malloc_trim(0)


def join_blocks(blocks: Sequence[Block]) -> Computed:
    """Put blocks together. They are empty afterwards, as there is no room for all rows twice.

    Args:
        blocks: In the order of the source. The last that says what was read is believed.

    Raises:
        InputError: They do not have the same columns.
    """
    sources = [block.source for block in blocks if block.source is not None]
    blocks = [block for block in blocks if block.values]
    first = blocks[0] if blocks else Block(None)
    for block in blocks:
        if list(block.columns) != list(first.columns):
            names = map(str, first.columns.keys() ^ block.columns.keys())
            problem = f"the blocks differ in their columns ({', '.join(names) or 'their order'})"
            raise InputError(f"data.py: {problem}; let each of `blocks` return the same")
    rows, values = {}, {}
    for name in [*first.columns]:
        rows[name] = _join([each.columns.pop(name) for each in blocks], name != first.group)
    for name in [*first.values]:
        parts = zip(*(each.values.pop(name) for each in blocks), strict=True)
        values[name] = [_join(columns) for columns in parts]
    frame = pd.DataFrame(rows, copy=False)
    release_memory()
    if sources:
        frame.attrs["source"] = sources[-1]
    return Computed(frame, values)


def _pack(values: Array) -> Packed:
    """The values as small numbers, if that takes less; a missing value is -1."""
    codes, known = _number_all(values)
    if values.dtype != object and len(known) > len(values) / 2:
        return None, values
    return codes, known


def _presence(column: pd.Series[Any]) -> Packed:
    """0 where there is a value, which is not kept; -1 where there is none."""
    return -column.isna().to_numpy().astype(np.int8), pd.Index([""])


def _number_all(values: Any) -> tuple[Array, pd.Index[Any]]:  # noqa: ANN401
    """A number for each value, and the values in an index: there texts take little memory."""
    codes, known = number(values)
    index = pd.Index(known)
    if isinstance(index.dtype, pd.CategoricalDtype):
        index = index.astype(index.dtype.categories.dtype)
    return codes, index


def _join(parts: Sequence[Packed], with_values: bool = True) -> pd.Categorical | Array:
    """The values of one block after the other, or numbers that are equal where they are."""
    if any(codes is None for codes, _ in parts):
        return np.concatenate(
            [
                values if codes is None else np.asarray(_as_categorical(codes, values))
                for codes, values in parts
            ]
        )
    ends = np.cumsum([len(values) for _, values in parts])[:-1]
    first, *others = (values for _, values in parts)
    new, known = number(first.append(others))
    own = [np.append(each, new.dtype.type(-1)) for each in np.split(new, ends)]
    codes = [numbers[each] for numbers, (each, _) in zip(own, parts, strict=True)]
    # A log's tickets, for example, may have millions of names, which no trial needs.
    return _as_categorical(np.concatenate(codes), known if with_values else range(len(known)))


def _as_categorical(codes: Any, values: Any) -> pd.Categorical:  # noqa: ANN401  arrays
    if not codes.any():  # one value, which need not be held for each row
        codes = np.broadcast_to(codes.dtype.type(0), codes.shape)
    found: pd.Categorical = pd.Categorical.from_codes(codes, values)
    return found
