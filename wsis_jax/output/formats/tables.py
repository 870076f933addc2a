"""Writes tables of cells: CSV for spreadsheets, Parquet for programs."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from wsis_jax.core import replacing, write_text
from wsis_jax.output.cell_table import Columns


def write_csv(path: str | Path, table: Columns) -> None:
    """Writes a table as CSV: a header, then a line for each row.

    Numbers have six significant digits, truths are True or False, and a number that is not known (NaN) leaves its
    field empty.
    """
    columns = [_texts(values) for values in table.values()]
    lines = [",".join(table), *map(",".join, zip(*columns, strict=True)), ""]
    write_text(path, "\n".join(lines))


def write_parquet(path: str | Path, table: Columns) -> None:
    """Writes a table as Parquet, in full precision; a number that is not known is NaN."""
    import pyarrow
    import pyarrow.parquet

    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(table), temporary)


def _texts(values: Shaped[np.ndarray, " rows"]) -> list[str]:
    """Returns the fields of a column."""
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values.tolist()]
