"""Pictures of large images for the page: those that are made of the image in one piece."""

import numpy as np
import pytest

from wsis_jax.core.images import resize_labels
from wsis_jax.core.windows import grid_windows, serial_map
from wsis_jax.output.report import gallery
from wsis_jax.output.report.gallery import overview


@pytest.mark.parametrize("shape", [(40, 50), (61, 90), (200, 333), (500, 90), (3, 700)])
@pytest.mark.parametrize("sides", [(64, 64), (37, 41), (1000, 1000)])
def test_it_is_what_the_whole_is_at_that_size(shape, sides, monkeypatch):
    monkeypatch.setattr(gallery, "_SIDE", 60)
    rng = np.random.default_rng(1)
    image, labels = rng.random(shape).astype(np.float32), rng.integers(0, 2**31, shape)
    pixels, seen = overview(image, labels, grid_windows(shape, sides), serial_map)
    step, pictured = gallery.sampling_step(shape), gallery.picture_shape(shape)
    assert max(pictured) <= 60
    np.testing.assert_array_equal(pixels, image[::step, ::step])
    np.testing.assert_array_equal(seen, resize_labels(labels, pictured))


def test_large_images_are_read_at_fewer_pixels():
    assert gallery.sampling_step((900, 900)) == 1
    assert gallery.sampling_step((20_000, 20_000)) == 11
    assert gallery.picture_shape((20_000, 10_000)) == (900, 450)
