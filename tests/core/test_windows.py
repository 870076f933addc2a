"""Windows: they cover an array once, and grow within it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis_jax.core.windows import grid_windows, grow, relative_to, whole_window


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
def test_windows_cover_every_pixel_once_and_grow_within_the_array(height, width, rows, columns, margin):
    times, shape = np.zeros((height, width), int), (height, width)
    for window in grid_windows(shape, (rows, columns)):
        times[window] += 1
        around = grow(window, margin, whole_window(shape))
        cut = np.arange(height * width).reshape(shape)
        np.testing.assert_array_equal(cut[around][relative_to(window, around)], cut[window])
        assert all(a.start <= w.start and a.stop >= w.stop for a, w in zip(around, window, strict=True))
    assert (times == 1).all()
