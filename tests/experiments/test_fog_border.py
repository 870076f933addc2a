"""The lines along which FogBank divides cells."""

import numpy as np
import pytest
from scipy import ndimage

from experiments.baselines.fog_border import border_mask, bridge, close_diagonals
from tests.text_labels import labels_of


def test_bridges_join_what_only_a_pixel_divides():
    mask = labels_of("1.1..", ".....", "1....", ".1.1.") > 0
    np.testing.assert_array_equal(bridge(mask), labels_of("111..", "11...", "1.1..", ".111.") > 0)


def test_lines_are_closed_where_they_meet_at_a_corner():
    mask = labels_of("1....", ".1...", ".1..1", "...1.") > 0
    np.testing.assert_array_equal(close_diagonals(mask), labels_of("11...", "11...", ".1.11", "...11") > 0)


@pytest.mark.parametrize("strength", ["intensity", "gradient"])
def test_no_4_connected_way_crosses_a_border(strength):
    rows, columns = np.indices((60, 60))
    distance = np.hypot(rows - 30, columns - 29.5)
    image = np.where(np.abs(distance - 18) < 1.5, 0.9, 0.2)
    foreground = np.ones(image.shape, bool)
    border = border_mask(image, foreground, strength=strength, percentile=85)
    parts, _ = ndimage.label(~border)
    assert parts[30, 30] != parts[0, 0]
    assert border.sum() < 4 * 2 * np.pi * 18  # a line or two, no band
    half = border_mask(image, columns < 30, strength=strength, percentile=85)
    assert not half[:, 33:].any()
