import numpy as np

from wsis_jax.core.geometry import nearest_distances


def test_distances_to_the_nearest_other_point():
    points = np.array([[0, 0], [3, 4], [3, 5], [20, 0]])
    expected = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(expected, np.inf)
    np.testing.assert_allclose(nearest_distances(points), expected.min(axis=1))
    assert np.isinf(nearest_distances(points[:1])).all()
    assert nearest_distances(points[:0]).shape == (0,)
    assert nearest_distances(np.array([[1.0, 1.0], [1.0, 1.0]])).tolist() == [0, 0]
