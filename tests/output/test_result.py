"""Cells of labels read by parts: whatever the parts, the table and the outlines are those of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.output.odd_labels import ODD
from wsis_jax.core.windows import grid_windows, serial_map
from wsis_jax.io.image_file import SourceImage
from wsis_jax.output.cell_table import measure_cells
from wsis_jax.output.formats.qupath import cell_features
from wsis_jax.output.result import TiledCells, TiledResult, groups_of


def assert_as_whole(labels, sides, *, pixel_size=None) -> None:
    rng = np.random.default_rng(0)
    channels = rng.random((2, *labels.shape)).astype(np.float32) * 1000
    cells = int(labels.max(initial=0))
    scores, confidence = rng.random(cells).astype(np.float32), rng.random(cells)
    expected = measure_cells(
        labels, channels=channels, scores=scores, confidence=confidence, pixel_size=pixel_size
    )
    source = SourceImage("a", channels[0], list(channels), pixel_size)
    cells = TiledCells(rng.random((cells, 2)), scores, confidence)
    measured = TiledResult(source, labels, cells, grid_windows(labels.shape, sides), serial_map)
    assert list(measured.table) == list(expected)
    for name, values in expected.items():
        assert measured.table[name].dtype == values.dtype
        np.testing.assert_allclose(measured.table[name], values, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(measured.table["touches_border"], expected["touches_border"])
    features = cell_features(labels, measured.table, name="a")
    assert measured.for_cells(cell_features, name="a") == features


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    sides=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    cells=st.integers(0, 12),
)
def test_any_blocks_give_the_whole(seed, shape, sides, cells):
    """Labels are discs, in part of each other; some numbers are missing, and cells are of several parts."""
    rng = np.random.default_rng(seed)
    labels, grid = np.zeros(shape, np.uint32), np.indices(shape)
    for label in rng.permutation(2 * cells)[:cells] + 1:
        for _ in range(rng.integers(1, 3)):
            centre = rng.integers(0, shape)[:, None, None]
            labels[((grid - centre) ** 2).sum(0) <= rng.integers(0, 60)] = label
    assert_as_whole(labels.astype(np.int64), sides, pixel_size=0.5 if seed % 2 else None)


@pytest.mark.parametrize("name", ODD)
def test_odd_labels_give_the_whole(name):
    labels = ODD[name]
    if labels.max(initial=0) < 1000:
        assert_as_whole(labels, (3, 4))


def test_a_group_reads_no_more_than_the_box_of_its_cells():
    labels = np.zeros((60, 60), np.int64)
    labels[2:5, 8:12], labels[7:9, 3:5], labels[50:55, 9:12] = 7, 2, 3
    groups = groups_of(labels, grid_windows(labels.shape, (10, 10)), serial_map)
    assert [group.window for group in groups] == [
        (slice(2, 9), slice(3, 12)),
        (slice(50, 55), slice(9, 12)),
    ]
    assert [group.labels.tolist() for group in groups] == [[2, 7], [3]]
    np.testing.assert_array_equal(np.unique(groups[0].numbers(labels)), [0, 1, 2])
