"""The table of cells: against discs and ellipses of known shape and loops over pixels; its files read back."""

import csv

import hypothesis.extra.numpy as arrays
import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import ellipse

from tests.output.odd_labels import ODD
from wsis_jax.core.types import WinnerMap
from wsis_jax.output.cell_table import (
    contribution_margins,
    measure_cells,
    read_columns,
    write_csv,
    write_parquet,
)

SHAPE = st.tuples(st.integers(2, 8), st.integers(2, 8))
SMALL = arrays.arrays(np.int32, SHAPE, elements=st.sampled_from([0, 0, 1, 2, 4]))


def test_a_drawn_ellipse_has_its_analytic_measures():
    labels = np.zeros((200, 240), int)
    labels[ellipse(90.0, 120.0, 40.0, 80.0)] = 1
    labels[ellipse(170.0, 40.0, 25.0, 25.0)] = 3
    table = measure_cells(labels, pixel_size=0.5)
    np.testing.assert_array_equal(table["label"], [1, 3])
    np.testing.assert_allclose(table["row"], [90, 170], atol=1e-9)
    np.testing.assert_allclose(table["column"], [120, 40], atol=1e-9)
    np.testing.assert_allclose(table["area"], [np.pi * 40 * 80, np.pi * 25**2], rtol=0.02)
    np.testing.assert_allclose(table["major_axis"], [160, 50], rtol=0.01)
    np.testing.assert_allclose(table["minor_axis"], [80, 50], rtol=0.01)
    np.testing.assert_allclose(table["eccentricity"], [np.sqrt(1 - 0.25), 0], atol=0.01)
    np.testing.assert_allclose(table["perimeter"][1], 2 * np.pi * 25, rtol=0.05)
    np.testing.assert_allclose(table["area_um2"], table["area"] / 4)
    for name in ("row", "column", "perimeter", "major_axis", "minor_axis"):
        np.testing.assert_allclose(table[f"{name}_um"], table[name] / 2)
    assert not table["touches_border"].any()


@given(SMALL, st.integers(0, 2))
def test_measures_are_those_of_loops_over_pixels(labels, channels):
    noise = np.random.default_rng(0)
    values = noise.random((channels, *labels.shape)).astype(np.float32)
    scores, confidence = noise.random(4).astype(np.float32), noise.random(4)
    table = measure_cells(labels, channels=values, scores=scores, confidence=confidence)
    assert table["label"].tolist() == np.unique(labels[labels > 0]).tolist()
    for row, label in enumerate(table["label"]):
        pixels = np.argwhere(labels == label)
        assert table["area"][row] == len(pixels)
        np.testing.assert_allclose([table["row"][row], table["column"][row]], pixels.mean(axis=0))
        for index in range(channels):
            mean = np.mean([float(values[index][tuple(pixel)]) for pixel in pixels])
            np.testing.assert_allclose(table[f"mean_intensity_{index}"][row], mean)
        assert table["score"][row] == scores[label - 1]
        assert table["confidence"][row] == confidence[label - 1]
        at_border = [r in (0, labels.shape[0] - 1) or c in (0, labels.shape[1] - 1) for r, c in pixels]
        assert table["touches_border"][row] == any(at_border)


def test_without_cells_the_table_has_all_columns_and_no_row():
    options = {"scores": np.zeros(0, np.float32), "confidence": np.zeros(0), "pixel_size": 2}
    none = measure_cells(np.zeros((5, 6), int), channels=np.zeros((2, 5, 6)), **options)
    options |= {"scores": np.ones(1, np.float32), "confidence": np.ones(1)}
    one = measure_cells(np.eye(5, 6, dtype=int), channels=np.zeros((2, 5, 6)), **options)
    assert {name: (values.dtype.kind, len(values)) for name, values in none.items()} == {
        name: (values.dtype.kind, 0) for name, values in one.items()
    }


def test_a_label_beyond_the_scores_is_an_error():
    with pytest.raises(
        ValueError, match="the label 3 has none of the 2 values of score; give a value for each label"
    ):
        measure_cells(np.array([[0, 3], [1, 0]]), scores=np.zeros(2, np.float32))


@given(SMALL, st.integers(1, 3), st.integers(0, 10**6))
def test_margins_are_those_of_a_loop_over_pixels_of_the_network(labels, finer, seed):
    noise = np.random.default_rng(seed)
    value = noise.integers(0, 4, labels.shape).astype(np.float32)
    runner_up = (value * noise.random(labels.shape)).astype(np.float32)
    owner = np.where(value > 0, noise.integers(0, 5, labels.shape), 0).astype(np.int32)
    # Labels of an image that is larger: every pixel of the network is a square of them.
    margins = contribution_margins(
        np.kron(labels, np.ones((finer, finer), int)), WinnerMap(value, owner, runner_up), 4
    )
    for cell in range(4):
        own = [
            (value[at] - runner_up[at]) / value[at]
            for at in np.ndindex(labels.shape)
            if value[at] > 0 and labels[at] == owner[at] == cell + 1
        ]
        np.testing.assert_allclose(margins[cell], np.mean(own) if own else np.nan, rtol=1e-6)
        assert not own or 0 <= margins[cell] <= 1


# Files


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


def test_columns_are_read_from_whatever_is_there(tmp_path):
    files = [tmp_path / f"{name}.csv" for name in ("a", "missing", "empty", "b")]
    files[0].write_text("label,area,score\n1,10,0.5\n2,,nan\n3,30,inf\n")
    files[2].touch()
    files[3].write_text('area,name,score\r\n7.5,"a, b",0.25\r\n8,"c\nd",many\r\n9\r\n')
    columns = read_columns(iter(files), names=("area", "score", "confidence"))
    assert {name: values.tolist() for name, values in columns.items()} == {
        "area": [10, 30, 7.5, 8, 9],
        "score": [0.5, 0.25],
        "confidence": [],
    }
    assert {values.dtype for values in columns.values()} == {np.dtype(np.float32)}
