"""Polygons of cells: valid, exact in area and pixels, against Shapely and brute force."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from wsis_jax.output.polygons import cell_outlines, cell_polygons

SMALL = arrays.arrays(
    np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1, 2, 7])
)


def geometry(polygons):
    """The polygons of a cell for Shapely, x before y."""
    return shapely.MultiPolygon(
        [(p.exterior[:, ::-1].tolist(), [hole[:, ::-1].tolist() for hole in p.holes]) for p in polygons]
    )


def rasterised(cells, shape):
    """Every pixel whose centre is in a polygon, by its label."""
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    labels = np.zeros(shape, int)
    for label, polygons in cells.items():
        labels[shapely.contains_xy(geometry(polygons), columns, rows)] = label
    return labels


@given(SMALL)
def test_polygons_are_valid_exact_and_give_the_labels_back(labels):
    cells = cell_polygons(labels)
    assert list(cells) == np.unique(labels[labels > 0]).tolist()
    np.testing.assert_array_equal(rasterised(cells, labels.shape), labels)
    for label, polygons in cells.items():
        mask = labels == label
        shape = geometry(polygons)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert shape.area == mask.sum()
        # The whole from the other side: every pixel a square, all of them united.
        squares = [shapely.box(c, r, c + 1, r + 1) for r, c in np.argwhere(mask)]
        assert shape.equals(shapely.union_all(squares))
        assert len(polygons) == ndimage.label(mask)[1]
        for polygon in polygons:
            assert shapely.LinearRing(polygon.exterior[:, ::-1]).is_ccw  # in numbers; clockwise, as rows go down
            assert not any(shapely.LinearRing(hole[:, ::-1]).is_ccw for hole in polygon.holes)


def test_corners_alone_are_kept():
    (polygon,) = cell_polygons(np.pad(np.full((3, 5), 4), ((2, 0), (1, 0))))[4]
    np.testing.assert_array_equal(polygon.exterior, [(2, 1), (2, 6), (5, 6), (5, 1)])
    assert polygon.holes == []


@pytest.mark.parametrize("missing", [(0, 0), (0, 2), (2, 0), (2, 2)])
def test_a_hole_that_touches_the_outside_at_a_corner_is_a_hole(missing):
    labels = np.ones((3, 3), int)
    labels[1, 1] = labels[missing] = 0
    (polygon,) = cell_polygons(labels)[1]
    assert [len(hole) for hole in polygon.holes] == [4]


def test_without_cells_there_are_no_polygons():
    assert cell_polygons(np.zeros((4, 5), int)) == {}
    assert cell_outlines(np.zeros((4, 5), int)) == {}


@given(SMALL)
def test_outlines_are_the_outermost_pixels_in_order(labels):
    for label, pixels in cell_outlines(labels).items():
        parts, _ = ndimage.label(labels == label)
        part = parts == parts[tuple(pixels[0])]
        filled = ndimage.binary_fill_holes(part)
        outermost = filled & ~ndimage.binary_erosion(filled)
        on_it = np.zeros_like(part)
        on_it[tuple(pixels.T)] = True
        np.testing.assert_array_equal(on_it, outermost)
        steps = np.abs(pixels - np.roll(pixels, 1, axis=0)).max(axis=1)
        assert (steps == (len(pixels) > 1)).all()


def test_the_longest_part_is_the_outline_of_a_cell():
    labels = np.zeros((6, 9), int)
    labels[0, 0] = 3
    labels[2:5, 4:8] = 3
    np.testing.assert_array_equal(cell_outlines(labels)[3][:3], [(2, 4), (2, 5), (2, 6)])
    assert len(cell_outlines(labels)[3]) == 10
