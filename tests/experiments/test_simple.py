"""The rivals that everyone should beat."""

import numpy as np
import pytest

from experiments.baselines.simple import MarkerWatershed, OtsuThreshold, RandomWalker, VoronoiDisc
from wsis_jax.metrics import match_labels
from wsis_jax.synthetic import draw_scene

RIVALS = [(VoronoiDisc(radius=13), 0.6), (MarkerWatershed(), 0.4), (RandomWalker(outer=22), 0.6)]


def test_discs_end_half_way_to_the_next_point():
    points = np.array([[10.2, 8.9], [10.0, 17.0], [30.0, 30.0]])
    labels = VoronoiDisc(radius=6).segment(np.eye(40, dtype=np.float32), points)
    rows, columns = np.indices((40, 40))
    distances = np.array([np.hypot(rows - round(r), columns - round(c)) for r, c in points])
    nearest, away = distances.argmin(axis=0), distances.min(axis=0)
    tie = np.isclose(np.sort(distances, axis=0)[0], np.sort(distances, axis=0)[1])
    np.testing.assert_array_equal(labels[~tie], np.where(away <= 6, nearest + 1, 0)[~tie])


def test_a_walker_stops_at_an_edge():
    rows, columns = np.indices((60, 60))
    square = (np.abs(rows - 30) <= 12) & (np.abs(columns - 30) <= 7)
    image = np.where(square, 0.2, 0.7).astype(np.float32)
    labels = RandomWalker(inner=3, outer=25, beta=1000, smooth=0.1).segment(image, np.array([[30, 30]]))
    np.testing.assert_array_equal(labels > 0, square)


def test_a_walker_with_nothing_known_to_be_background_divides_everything():
    image = np.eye(12, dtype=np.float32)
    labels = RandomWalker(inner=2, outer=40).segment(image, np.array([[2, 6], [9, 6]]))
    assert labels[0, 0] == 1
    assert labels[11, 11] == 2
    assert labels.min() == 1


def test_a_disc_wider_than_what_is_known_to_be_background_is_refused():
    with pytest.raises(ValueError, match="inner must be less than outer"):
        RandomWalker(inner=30, outer=20).segment(np.eye(12, dtype=np.float32), np.array([[2, 6]]))


@pytest.mark.parametrize(("rival", "least"), RIVALS)
def test_drawn_cells_are_found(rival, least):
    scene = draw_scene(1, shape=(160, 160), cells=12, diameter=26.0)
    labels = rival.segment(scene.image, scene.points)
    match = match_labels(labels, scene.labels)
    assert match.predictions == 12
    assert match.dice_terms.mean() > least


def test_otsu_finds_bright_and_dark_discs_and_divides_them_at_the_points():
    rows, columns = np.mgrid[:60, :60]
    places = np.array([[20, 20], [20, 34], [45, 40]])
    mask = np.any([np.hypot(rows - r, columns - c) < 8 for r, c in places], axis=0)
    bright = np.where(mask, 0.8, 0.2).astype(np.float32)
    for image in (bright, 1 - bright):
        for division in ("points", "watershed"):
            labels = OtsuThreshold(division=division).segment(image, places)
            assert sorted(np.unique(labels[tuple(places.T)])) == [1, 2, 3]
            assert ((labels > 0) == mask).mean() > 0.97
