"""Nuclei from a stain: each found once and in place, none in noise, and no unit of grey value matters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsis_jax.metrics import match_points
from wsis_jax.points.nuclei import Nuclei, _halved, find_nuclei
from wsis_jax.synthetic import Scene, draw_scene

SMALL = draw_scene(1, shape=(112, 131), cells=18, diameter=22.0).nuclei.astype(np.float64)


def per_cell(nuclei: Nuclei, scene: Scene) -> np.ndarray:
    """Number of nuclei outside of cells, then in each cell."""
    rows, columns = np.rint(nuclei.points).astype(int).T
    return np.bincount(scene.labels[rows, columns], minlength=scene.labels.max() + 1)


def discs(shape: tuple[int, int], centres: list[tuple[float, float]], diameter: float | int) -> np.ndarray:
    """Discs of height 1 with a soft edge, and a little noise."""
    rows, columns = np.indices(shape)
    image = np.random.default_rng(0).normal(0, 0.01, shape)
    for row, column in centres:
        image += 1 / (1 + np.exp(2 * (np.hypot(rows - row, columns - column) - diameter / 2)))
    return image


def same_points(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether points are the same within half a pixel, in any order."""
    return len(found) == len(expected) == len(match_points(found, expected, distance=0.5).pairs)


# What is found


@pytest.mark.parametrize("noise", [0.0, 0.015, 0.05])
@pytest.mark.parametrize(
    ("diameter", "share"), [(12.0, 0.1), (12.0, 0.45), (24.0, 0.45), (40.0, 0.3), (60.0, 0.1)]
)
def test_a_drawn_cell_has_one_nucleus(diameter: float, share: float, noise: float):
    side = max(int(7 * diameter), 160)
    cells = int(share * side**2 / (np.pi * diameter**2 / 4))
    scene = draw_scene(2, shape=(side, side), cells=cells, diameter=diameter, noise=noise)
    outside, *inside = per_cell(find_nuclei(scene.nuclei), scene)
    assert outside == 0
    assert max(inside) == 1
    assert np.mean(inside) >= 0.95


@pytest.mark.parametrize("diameter", [7, 12, 20, 33, 50])
def test_place_and_size_are_read_from_the_image(diameter: int):
    centres = [(1.2 * diameter + 0.3, 1.2 * diameter), (1.5 * diameter, 5.0 * diameter + 0.4)]
    found = find_nuclei(discs((3 * diameter, 7 * diameter), centres, diameter))
    match = match_points(found.points, np.array(centres), distance=0.5)
    assert (match.true_positives, match.false_positives) == (2, 0)
    np.testing.assert_allclose(found.diameters, diameter, rtol=0.15)  # what is not blurred is taken for smaller
    np.testing.assert_allclose(found.contrasts, 1, atol=0.1)


def test_a_given_diameter_is_used_for_the_typical_one():
    # A nucleus of grains: as one blob, or each by itself.
    grains = [(40 + 9.0 * row, 40 + 9.0 * column) for row in range(3) for column in range(3)]
    image = discs((100, 100), grains, 5)
    assert len(find_nuclei(image, diameter=5).points) == 9
    np.testing.assert_allclose(find_nuclei(image, diameter=27).points, [[49.0, 49.0]], atol=1)


def test_bright_nuclei_do_not_hide_faint_ones():
    image = 100 * discs((60, 120), [(30, 25)], 16) + 3 * discs((60, 120), [(30, 60), (30, 95)], 16)
    found = find_nuclei(image)
    assert np.sort(np.rint(found.points[:, 1])).tolist() == [25, 60, 95]
    assert np.rint(found.points[0, 1]) == 25
    assert np.all(np.diff(found.contrasts) <= 0)


def test_nuclei_at_the_border_are_kept_in_the_image():
    centres = [(0, 30), (30, 0), (59, 60), (30, 119), (30, 60), (0, 119)]
    found = find_nuclei(discs((60, 120), centres, 14))
    # The centre of a quarter of a disc is 4 pixels from that of the disc.
    assert len(match_points(found.points, np.array(centres), distance=5).pairs) == len(found.points) == 6
    assert np.all(found.points >= 0)
    assert np.all(found.points <= [59, 119])


@pytest.mark.parametrize("aspect", [1.5, 2.0, 2.5])
def test_a_long_nucleus_is_one(aspect: float):
    rows, columns = np.indices((60, 120))
    long = np.hypot((rows - 30) * aspect**0.5, (columns - 60) / aspect**0.5) < 8
    image = ndimage.gaussian_filter(long.astype(float), 1) + discs((60, 120), [(30, 20), (30, 100)], 16)
    assert same_points(find_nuclei(image).points, np.array([[30.0, 20], [30, 60], [30, 100]]))


def test_a_nucleus_twice_as_large_as_the_others_is_one():
    others = [(20.0, 20.0), (20.0, 60.0), (20.0, 100.0), (100.0, 20.0), (100.0, 60.0), (60.0, 20.0)]
    image = discs((120, 120), others, 14) + discs((120, 120), [(70, 85)], 28)
    found = find_nuclei(image)
    large = np.linalg.norm(found.points - [70, 85], axis=1) < 14
    assert (large.sum(), (~large).sum()) == (1, 6)
    assert found.diameters[large] > 1.6 * np.median(found.diameters)


# What is not


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (1, 1), (5, 300), (64, 64)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_a_constant_stain_has_none(shape: tuple[int, int], kind: type):
    for diameter in (None, 0.5):
        if diameter is None or min(shape) > 0:
            found = find_nuclei(np.full(shape, 7, kind), diameter=diameter)
            assert [part.shape for part in found] == [(0, 2), (0,), (0,)]
            assert all(part.dtype == np.float64 for part in found)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=(200, 200)),
        lambda rng: ndimage.gaussian_filter(rng.normal(size=(200, 200)), 1.5),
        lambda rng: rng.normal(size=(200, 200)) + np.linspace(0, 6, 200)[:, None],
        lambda rng: rng.exponential(size=(200, 200)),
        lambda rng: rng.poisson(5, (200, 200)),
        lambda rng: np.rint(10 + 0.3 * rng.normal(size=(200, 200))).astype(np.uint8),
        lambda rng: 255 * (rng.random((200, 200)) < 0.001),
        lambda rng: np.linspace(0, 1, 200)[:, None] * np.ones(200),
    ],
    ids=["white", "blurred", "tilted", "skewed", "counted", "below a grey value", "hot pixels", "a ramp"],
)
def test_noise_has_none(draw):
    assert [len(find_nuclei(draw(np.random.default_rng(seed))).points) for seed in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value: float):
    stain = SMALL.copy()
    stain[3, 4] = value
    with pytest.raises(ValueError, match=r"^stain holds NaN or infinite values; replace them by numbers$"):
        find_nuclei(stain)


@pytest.mark.parametrize("diameter", [0, -3.0, np.nan, np.inf, 132])
def test_a_diameter_that_no_nucleus_can_have_is_refused(diameter: float | int):
    with pytest.raises(
        ValueError, match=r"^diameter must be above 0 and at most the longer side, 131, not .*; give"
    ):
        find_nuclei(SMALL, diameter=diameter)


# What does not matter


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(1e-3, 1e4), offset=st.floats(-1e4, 1e4))
def test_the_unit_of_grey_values_does_not_matter(factor: float, offset: float):
    assert same_points(find_nuclei(factor * SMALL + offset).points, find_nuclei(SMALL).points)


@pytest.mark.parametrize("shape", [(6, 8), (7, 8), (6, 9), (7, 9)])
def test_a_flipped_image_is_halved_alike(shape: tuple[int, int]):
    image = np.random.default_rng(0).random(shape)
    np.testing.assert_allclose(_halved(image[::-1, ::-1]), _halved(image)[::-1, ::-1])
    np.testing.assert_allclose(_halved(image[:6, :8]), image[:6, :8].reshape(3, 2, 4, 2).mean((1, 3)))


@settings(deadline=None, max_examples=16)
@given(turns=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 20))
def test_flips_and_quarter_turns_do_not_matter(turns: int, flip: bool, seed: int):
    stain = draw_scene(seed, shape=(97, 120), cells=14, diameter=22.0).nuclei
    # Each pixel's number, moved as the pixels are, tells where a point of the moved image was.
    moved, numbers = (
        np.rot90(image[:, ::-1] if flip else image, turns)
        for image in (stain, np.arange(stain.size).reshape(stain.shape))
    )
    rows, columns = (
        ndimage.map_coordinates(number.astype(float), find_nuclei(moved).points.T, order=1)
        for number in np.divmod(numbers, stain.shape[1])
    )
    assert same_points(np.stack([rows, columns], axis=1), find_nuclei(stain).points)


@pytest.mark.parametrize(("kind", "greatest"), [(np.uint8, 255), (np.uint16, 60_000), (np.float32, 1)])
def test_the_kind_of_number_does_not_matter(kind: type, greatest: int):
    stored = (np.rint(SMALL * greatest) if greatest > 1 else SMALL).astype(kind)
    assert same_points(find_nuclei(stored).points, find_nuclei(SMALL).points)
