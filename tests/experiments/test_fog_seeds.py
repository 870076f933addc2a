"""The seeds that FogBank begins with, and the ways between them."""

import numpy as np

from experiments.baselines.fog_seeds import find_seeds, geodesic_distance
from tests.text_labels import labels_of


def test_ways_go_around_walls():
    mask = labels_of("111", "..1", "111") > 0
    distance = geodesic_distance(mask, np.array([[0, 0]]))
    root = np.sqrt(2)
    np.testing.assert_allclose(
        distance, [[0, 1, 2], [np.inf, np.inf, 1 + root], [2 + 2 * root, 1 + 2 * root, 2 + root]]
    )


def seeds_in(image: np.ndarray, foreground: np.ndarray, **changes: float) -> np.ndarray:
    """The seeds where the percentiles hold just the spots of 0.2, at settings that can be changed."""
    high = 100 * (1 + np.count_nonzero(image == 0.2)) / np.count_nonzero(foreground)
    settings = {"low": 0, "high": high, "min_area": 4, "max_area": 20, "gap": 10} | changes
    return find_seeds(image, foreground, np.zeros(image.shape, bool), **settings)


def dark_spots(*corners: tuple[int, int]) -> np.ndarray:
    """A plane of 0.5 to 1 with spots of 3 × 3 pixels of 0.2, and the one darkest pixel that is never seed."""
    image = np.linspace(0.5, 1, 1200).reshape(30, 40)
    for row, column in corners:
        image[row : row + 3, column : column + 3] = 0.2
    image[29, 39] = 0.0
    return image


def test_seeds_near_each_other_are_one_cell():
    image = dark_spots((5, 5), (5, 13), (5, 30))
    everywhere = np.ones(image.shape, bool)
    near = seeds_in(image, everywhere, gap=10)
    assert near[6, 6] == near[6, 14] > 0
    assert near.max() == 2
    assert near[6, 31] not in (0, near[6, 6])
    assert seeds_in(image, everywhere, gap=5).max() == 3
    assert (near > 0).sum() == 27


def test_a_wall_between_seeds_divides_them():
    image = dark_spots((5, 5), (5, 13))
    foreground = np.ones(image.shape, bool)
    foreground[:20, 10] = False
    assert seeds_in(image, foreground).max() == 2


def test_seeds_have_a_size():
    image = dark_spots((5, 5))
    everywhere = np.ones(image.shape, bool)
    assert seeds_in(image, everywhere).max() == 1
    assert seeds_in(image, everywhere, max_area=8).max() == 0
    assert seeds_in(image, everywhere, min_area=10).max() == 0
    nowhere = np.zeros(image.shape, bool)
    assert not find_seeds(image, nowhere, nowhere, low=0, high=9, min_area=1, max_area=9, gap=9).any()
