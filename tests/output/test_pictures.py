"""Pictures: of the right size and type, in the right colours, and inputs are only read."""

import numpy as np
import pytest

from wsis_jax.core.types import WinnerMap
from wsis_jax.output import pictures

LABELS = np.zeros((12, 16), np.int32)
LABELS[2:7, 3:9] = 1
LABELS[2:7, 9:12] = 2
IMAGE = np.random.default_rng(0).random((12, 16), np.float32) * 900 - 50


def winner(value: np.ndarray) -> WinnerMap:
    return WinnerMap(value.astype(np.float32), LABELS, np.zeros_like(value, np.float32))


def test_every_label_has_a_colour_of_its_own_and_background_is_black():
    colours = pictures.cell_colours(300)
    assert len(np.unique(colours, axis=0)) == 301
    assert not colours[0].any()
    assert np.abs(np.diff(colours[1:], axis=0)).max(1).min() > 0.2  # neighbours in number are unlike


def test_image_pictures_stretch_any_range():
    picture = pictures.image_picture(IMAGE)
    assert picture.shape == (12, 16, 3)
    assert (picture.min(), picture.max()) == (0, 255)
    assert (picture == picture[..., :1]).all()
    assert not pictures.image_picture(np.full((3, 4), 7.0)).any()


def test_overlays_show_outlines_in_the_colour_of_their_cell_and_the_image_elsewhere():
    picture, colours = pictures.overlay(IMAGE, LABELS), np.round(pictures.cell_colours(2) * 255)
    np.testing.assert_array_equal(picture[2, 3], colours[1])
    np.testing.assert_array_equal(picture[4, 8], colours[1])  # the border between the two cells
    np.testing.assert_array_equal(picture[4, 9], colours[2])
    plain = pictures.image_picture(IMAGE)
    np.testing.assert_array_equal(picture[LABELS == 0], plain[LABELS == 0])
    np.testing.assert_array_equal(picture[4, 5], plain[4, 5])  # inside


def test_overlays_mark_points_with_crosses_even_at_the_corners():
    points = np.array([[0.0, 0.0], [11.4, 15.4], [-0.5, 7.2]])
    picture = pictures.overlay(np.zeros((12, 16), np.float32), np.zeros((12, 16), np.int32), points)
    white = (picture == 255).all(-1)
    assert white[0, 0]
    assert white[2, 0]
    assert white[0, 2]
    assert white[11, 15]
    assert white[9, 15]
    assert white[0, 5:10].all()
    assert not white[5].any()


def test_inputs_are_only_read():
    image, labels, points = IMAGE.copy(), LABELS.copy(), np.array([[3.0, 4.0]])
    value = np.ones((12, 16), np.float32)
    for array in (image, labels, points, value):
        array.flags.writeable = False
    assert pictures.overlay(image, labels, points).any()
    assert pictures.label_picture(labels).any()
    assert pictures.contribution_picture(WinnerMap(value, labels, value)).any()


@pytest.mark.parametrize(
    ("value", "colour"), [(0.0, (0, 0, 0)), (1 / 3, (255, 0, 0)), (2 / 3, (255, 255, 0)), (2.0, (255, 255, 255))]
)
def test_heat_goes_from_black_through_red_and_yellow_to_white(value, colour):
    np.testing.assert_array_equal(pictures.heat_picture(np.full((1, 1), value))[0, 0], colour)


def test_contributions_are_as_bright_as_they_are_great():
    value = np.linspace(0, 1, 192).reshape(12, 16) * (LABELS > 0)
    picture = pictures.contribution_picture(winner(value)).max(-1)
    assert not picture[LABELS == 0].any()
    inside = picture[LABELS > 0].astype(int)
    assert (np.diff(inside) >= 0).all()
    assert inside[-1] > inside[0]


def test_no_contribution_is_black():
    assert not pictures.contribution_picture(winner(np.zeros((12, 16)))).any()


def test_label_pictures_have_one_colour_per_cell():
    picture = pictures.label_picture(LABELS)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3
    assert not picture[LABELS == 0].any()


def test_strips_set_pictures_side_by_side_at_one_height():
    small, wide = np.zeros((10, 10, 3), np.uint8), np.full((10, 30, 3), (9, 200, 9), np.uint8)
    strip = pictures.strip([("one", small), ("two", wide)], height=40)
    assert strip.shape[0] > 40  # captions
    assert strip.shape[1] >= 40 + 120
    assert (strip == (9, 200, 9)).all(-1).sum() == 40 * 120


def test_points_and_peaks_that_agree_are_cyan_and_others_tell_what_is_wrong():
    points, peaks = np.array([[10.0, 10.0], [10.0, 40.0]]), np.array([[11, 10], [30, 30]])
    picture = pictures.detection_picture(
        np.random.default_rng(0).random((40, 60), np.float32),
        points,
        peaks,
        pairs=np.array([[0, 0]]),
        radius=3.0,
        zoom=2.0,
    )
    assert picture.shape == (80, 120, 3)

    def places(colour):
        return np.argwhere((picture == colour).all(2)).mean(0) / 2

    np.testing.assert_allclose(places(pictures._POINT), (10.8, 10.25), atol=0.5)
    np.testing.assert_allclose(places(pictures._MISSING), (10.25, 40.25), atol=0.3)  # a point without a peak
    np.testing.assert_allclose(places(pictures._DOUBLED), (30.25, 30.25), atol=0.3)  # a peak without a point
