"""Strips of an image for the folds of a small set, and nuclei that a stain did not mark."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.folds import Case
from experiments.no_annotation import hide, strips
from wsis_jax.synthetic import draw_scene

SCENE = draw_scene(3, shape=(120, 200), cells=16, diameter=22.0)
CASE = Case("a", SCENE.image, SCENE.points, SCENE.labels)


@settings(deadline=None, max_examples=8)
@given(count=st.integers(1, 5))
def test_strips_share_out_pixels_points_and_cells(count):
    cut = strips(CASE, SCENE.nuclei, count)
    assert [case.name for case, _ in cut] == [f"a-{index}" for index in range(count)]
    np.testing.assert_array_equal(np.concatenate([case.image for case, _ in cut], axis=1), CASE.image)
    np.testing.assert_array_equal(np.concatenate([stain for _, stain in cut], axis=1), SCENE.nuclei)
    left = np.cumsum([0, *(case.image.shape[1] for case, _ in cut)])
    points = np.concatenate(
        [case.points + np.array([0, start]) for (case, _), start in zip(cut, left, strict=False)]
    )
    assert sorted(map(tuple, points)) == sorted(map(tuple, CASE.points))
    cells = np.concatenate([np.setdiff1d(case.masks, 0) for case, _ in cut])
    assert sorted(cells.tolist()) == np.setdiff1d(CASE.masks, 0).tolist()  # each in one strip


def test_a_cut_cell_goes_where_most_of_it_lies():
    whole = np.bincount(CASE.masks.ravel())
    for case, _ in strips(CASE, SCENE.nuclei, 3):
        for label, size in enumerate(np.bincount(case.masks.ravel())[1:], 1):
            assert size == 0 or 3 * size >= whole[label]


@given(seed=st.integers(0, 100), share=st.floats(0, 1))
def test_a_share_is_hidden_and_the_rest_stays_in_order(seed, share):
    points = np.random.default_rng(seed).uniform(0, 100, (40, 2))
    kept = hide(points, share)
    assert len(kept) == 40 - round(share * 40)
    indices = [points.tolist().index(point) for point in kept.tolist()]
    assert indices == sorted(indices)
    np.testing.assert_array_equal(kept, hide(points, share))
