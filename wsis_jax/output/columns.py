"""Columns of many tables of cells, read one after the other."""

import csv
import math
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from wsis_jax.core import UserError

_LARGEST = float(np.finfo(np.float32).max)


def read_columns(files: Iterable[Path], *, names: Sequence[str]) -> dict[str, Float32[np.ndarray, " _"]]:
    """Returns the numbers of some columns of all tables, one table after the other.

    A file that is not there, a column that a table has not, and what is no finite number are left out: a report
    shows what there is. A cell takes four bytes a column.

    Args:
        files: of comma-separated values with a heading.
        names: of the columns.

    Raises:
        UserError: if a file is no table.
    """
    columns = {name: array("f") for name in names}
    for file in files:
        if not file.is_file():
            continue
        with file.open(encoding="utf-8", newline="") as lines:
            try:
                for row in csv.DictReader(lines):
                    for name, values in columns.items():
                        value = _number(row.get(name))
                        if abs(value) < _LARGEST:
                            values.append(value)
            except (csv.Error, ValueError) as error:
                raise UserError(f"{file}: is no table of cells ({error}); segment the image again") from error
    return {name: np.array(values, np.float32) for name, values in columns.items()}


def _number(field: str | None) -> float:
    """Returns the number in a field, or NaN."""
    try:
        return float(field or "nan")
    except ValueError:
        return math.nan
