"""Tables of cells, read back by the csv module and by pyarrow."""

import csv

import numpy as np
import pyarrow.parquet

from tests.output.odd_labels import ODD
from wsis_jax.output.cell_table import measure_cells
from wsis_jax.output.formats.tables import write_csv, write_parquet


def table_of(name):
    labels = ODD[name]
    channels = np.random.default_rng(1).random((2, *labels.shape)).astype(np.float32) * 60_000
    confidence = np.linspace(0, 1, max(int(labels.max()), 1))
    confidence[0] = np.nan
    scores = np.linspace(0.5, 1, len(confidence)).astype(np.float32)
    return measure_cells(labels, channels=channels, scores=scores, confidence=confidence, pixel_size=0.65)


def test_csv_has_six_digits_and_leaves_unknown_fields_empty(tmp_path):
    table = table_of("odd")
    write_csv(tmp_path / "a.csv", table)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == table["label"].tolist()
    assert {row["touches_border"] for row in rows} == {"True", "False"}
    assert rows[0]["confidence"] == ""
    for name, values in table.items():
        if name not in ("touches_border", "label"):
            back = [float(row[name] or "nan") for row in rows]
            np.testing.assert_allclose(back, values, rtol=5e-6, err_msg=name)


def test_parquet_is_the_table(tmp_path):
    table = table_of("odd")
    write_parquet(tmp_path / "a.parquet", table)
    back = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert back.column_names == list(table)
    for name, values in table.items():
        column = back[name].to_numpy()
        assert column.dtype == values.dtype
        np.testing.assert_array_equal(column, values)


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    table = table_of("empty")
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == ",".join(table) + "\n"
    write_parquet(tmp_path / "a.parquet", table)
    back = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert (back.column_names, back.num_rows) == (list(table), 0)
    write_parquet(tmp_path / "b.parquet", table_of("odd"))
    assert back.schema == pyarrow.parquet.read_table(tmp_path / "b.parquet").schema
