"""Segmentation: images of every size and content become right label images, always the same ones."""

import numpy as np
import pytest
from scipy import ndimage

from wsis_jax.config import preset
from wsis_jax.metrics import match_labels, match_points
from wsis_jax.segmentation import Segmentation, segment


def assert_valid(result: Segmentation, image: np.ndarray) -> None:
    """Labels are 1..N, one per point, each in one piece; the points are in the image."""
    cells = len(result.points)
    assert result.labels.shape == image.shape
    assert set(np.unique(result.labels)) - {0} == set(range(1, cells + 1))
    for label in range(1, cells + 1):
        assert ndimage.label(result.labels == label, np.ones((3, 3)))[1] == 1
    assert len(result.scores) == cells
    assert ((result.points >= -0.5) & (result.points <= np.array(image.shape) - 0.5)).all()


def with_settings(run, *assignments: str):
    return run.config.override(assignments)


def test_cells_are_found_and_outlined(tiny_run, draw_small):
    scene = draw_small(100)
    result = segment(tiny_run.run, scene.image)
    assert_valid(result, scene.image)
    assert match_points(result.points, scene.points, distance=5.0).f_measure >= 0.8
    assert match_labels(result.labels, scene.labels).dice_terms.mean() >= 0.6
    assert ((result.scores > 0) & (result.scores <= 1)).all()


def test_each_label_lies_at_its_point(tiny_run, draw_small):
    result = segment(tiny_run.run, draw_small(101, cells=10, shape=(96, 96)).image)
    assert len(result.points) >= 5
    at = result.labels[tuple(np.round(result.points).astype(int).T)]
    np.testing.assert_array_equal(at, np.arange(1, len(result.points) + 1))


def test_an_image_without_cells_has_no_label(tiny_run, draw_small):
    image = draw_small(3, cells=0).image
    result = segment(tiny_run.run, image)
    print(result.detection.likelihood.max())
    assert result.labels.max() == 0


def test_one_cell_is_one_label(tiny_run, draw_small):
    scene = draw_small(100, cells=1)
    result = segment(tiny_run.run, scene.image)
    print(result.points, scene.points)
    assert_valid(result, scene.image)
    assert len(result.points) == 1


def test_three_hundred_cells(tiny_run, draw_small):
    import time
    t=time.time()
    scene = draw_small(100, cells=300, shape=(300, 320))
    print(time.time()-t)
    result = segment(tiny_run.run, scene.image)
    print(time.time()-t, len(result.points))
    assert_valid(result, scene.image)
    assert len(result.points) > 255
    assert 0
