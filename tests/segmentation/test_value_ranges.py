"""Grey values of an image in blocks: normalised as those of the image in one piece."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.core.config import ImageConfig
from wsis_jax.core.images import normalize_by, stretch
from wsis_jax.core.windows import grid_windows, serial_map
from wsis_jax.segmentation.tiled.value_ranges import value_ranges


def ranges_in_parts(
    image: np.ndarray, side: int, settings: ImageConfig | None = None
) -> list[tuple[float, float]]:
    blocks = grid_windows((image.shape[0], image.shape[1]), (side, side + 3))
    return value_ranges(image, settings or ImageConfig(), blocks, serial_map, serial_map)


def images(*, channels: int) -> st.SearchStrategy[np.ndarray]:
    """Small images of few values; many have areas at the border, or a bright edge, that do not count."""
    sides = npst.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=12)
    shapes = sides.map(lambda shape: shape if channels == 1 else (*shape, channels))
    values = npst.arrays(np.float32, shapes, elements=st.sampled_from([0, 0, 0, 5, 6, 7, 7.5, 9, 9]))
    frames = st.tuples(values, st.sampled_from([None, 0, 9]), st.integers(0, 3)).map(_framed)
    return st.one_of(frames, st.integers(0, 2**20).map(partial(_with_edge, channels=channels)))


def _framed(given: tuple[np.ndarray, int | None, int]) -> np.ndarray:
    image, value, width = given
    if value is not None:
        image[:, :width], image[:1] = value, value
    return image


def _with_edge(seed: int, *, channels: int) -> np.ndarray:
    """An image of noise, some of which has a bright edge, and some of which has bright pixels elsewhere."""
    random = np.random.default_rng(seed)
    image = random.normal(100, 10, (20, 25, channels)).astype(np.float32)
    image[: random.integers(5), : random.integers(6), random.integers(channels)] = 200
    image[10, 12 : 12 + random.integers(4)] = 200
    return image[..., 0] if channels == 1 else image


def test_there_are_bright_edges_among_them():
    ranges = [ranges_in_parts(_with_edge(seed, channels=1), 7) for seed in range(20)]
    assert 3 < sum(top < 150 for ((_, top),) in ranges) < 17


@settings(deadline=None)
@given(images(channels=1), st.integers(1, 7))
def test_parts_are_normalised_as_the_whole(image, side):
    if image.min() < image.max():
        normalized = normalize_by(ImageConfig(), image)
        np.testing.assert_array_equal(normalized, stretch(image, *ranges_in_parts(image, side)[0]))


@settings(deadline=None)
@given(images(channels=3), st.integers(1, 7), st.sampled_from(["colours", (0, 1, 2)]))
def test_so_are_those_of_several_channels(image, side, channels):
    look = ImageConfig(channels=channels)
    ranges = ranges_in_parts(image, side, look)
    ranges = ranges * 3 if channels == "colours" else ranges
    if (image.min(axis=(0, 1)) < image.max(axis=(0, 1))).all():
        stretched = [stretch(image[..., i], *one) for i, one in enumerate(ranges)]
        np.testing.assert_array_equal(normalize_by(look, image), np.stack(stretched, axis=-1))


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_the_border_of_a_scan_counts_in_no_part(draw_small, value):
    crowd = draw_small(7, cells=38, shape=(150, 173)).image
    framed = np.pad(crowd, ((0, 20), (40, 3)), constant_values=value)
    ranges = ranges_in_parts(framed, 37)
    assert ranges == ranges_in_parts(crowd, 50) != [tuple(np.percentile(framed, [1.0, 99.8]))]
