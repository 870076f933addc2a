"""Between the image's pixels and the network's: sizes, points, labels, and that they agree."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from wsis_jax.core.config import ImageConfig
from wsis_jax.core.images import (
    Resizing,
    check_channels,
    fitting,
    grey,
    is_constant,
    normalize_by,
    normalize_image,
    part_before_resizing,
    part_resized_from,
    resize_image,
    resize_labels,
    resize_labels_part,
    resize_part,
    rounded_up,
    scale_points,
    scaled_shape,
    shared_sides,
    smooth_labels,
    smooth_part,
)
from wsis_jax.core.windows import grid_windows


@pytest.mark.parametrize(
    ("shape", "scale", "expected"),
    [
        ((10, 20), 1.0, (10, 20)),
        ((10, 20), 0.5, (5, 10)),
        ((11, 13), 0.7, (8, 9)),
        ((7, 9), 2.5, (18, 22)),  # 17.5 and 22.5 go to the even number
        ((3, 100), 0.01, (1, 1)),
    ],
)
def test_shapes_are_rounded_and_never_empty(shape, scale, expected):
    assert scaled_shape(shape, scale) == expected
    assert resize_image(np.zeros(shape), scale).shape == expected


def test_scale_1_is_identity():
    image, points = np.random.default_rng(0).random((9, 7)), np.array([[0.0, 3.25], [8, 6]])
    np.testing.assert_array_equal(resize_image(image, 1.0), image.astype(np.float32))
    np.testing.assert_array_equal(scale_points(points, 1.0), points)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.7, 2.0])
def test_a_constant_image_stays_so(scale):
    np.testing.assert_allclose(resize_image(np.full((12, 17), 0.7), scale), 0.7, atol=1e-6)


@settings(deadline=None)
@given(npst.arrays(np.float64, (4, 2), elements=st.floats(-1e3, 1e4)), st.floats(0.05, 20))
def test_points_round_trip(points, scale):
    np.testing.assert_allclose(scale_points(scale_points(points, scale), 1 / scale), points, atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.5, 3.0])
def test_corners_of_the_image_stay_corners(scale):
    height, width = 40, 24
    corners = np.array([[-0.5, -0.5], [height - 0.5, width - 0.5]])
    expected = [[-0.5, -0.5], [height * scale - 0.5, width * scale - 0.5]]
    np.testing.assert_allclose(scale_points(corners, scale), expected)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 1.25, 2.0, 3.0])
@pytest.mark.parametrize("centre", [(30.0, 37.0), (24.3, 50.6)])
def test_a_disc_and_its_point_stay_together(scale, centre):
    rows, columns = np.indices((64, 80))
    distance = np.hypot(rows - centre[0], columns - centre[1])
    disc = resize_image(np.clip(11 - distance, 0, 1), scale)
    centroid = (np.indices(disc.shape) * disc).sum(axis=(1, 2)) / disc.sum()
    (expected,) = scale_points(np.array([centre]), scale)
    assert np.abs(centroid - expected).max() < 0.1


@settings(deadline=None)
@given(
    npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 70_000)),
    st.integers(1, 5),
)
def test_labels_up_by_a_whole_factor_are_blocks_and_come_back(labels, factor):
    height, width = labels.shape
    large = resize_labels(labels, (height * factor, width * factor))
    np.testing.assert_array_equal(large, np.kron(labels, np.ones((factor, factor), np.int32)))
    np.testing.assert_array_equal(resize_labels(large, labels.shape), labels)


@pytest.mark.parametrize("shape", [(5, 8), (13, 4), (1, 1), (40, 40)])
def test_every_new_label_is_that_of_the_nearest_old_pixel(shape):
    labels = np.random.default_rng(1).integers(0, 9, (11, 7))
    resized = resize_labels(labels, shape)
    assert resized.dtype == np.int32
    for row, column in np.ndindex(shape):
        y, x = (row + 0.5) * 11 / shape[0] - 0.5, (column + 0.5) * 7 / shape[1] - 0.5
        rows = np.flatnonzero(np.abs(np.arange(11) - y) <= 0.5 + 1e-9)
        columns = np.flatnonzero(np.abs(np.arange(7) - x) <= 0.5 + 1e-9)
        assert resized[row, column] in labels[np.ix_(rows, columns)]


@pytest.mark.parametrize("shape", [(5, 8), (13, 4), (1, 1), (40, 40), (11, 7)])
@pytest.mark.parametrize("side", [1, 3, 20])
def test_the_parts_that_blocks_give_make_up_the_whole(shape, side):
    labels = np.random.default_rng(2).integers(0, 9, (11, 7))
    resized = np.full(shape, -1)
    for block in grid_windows(labels.shape, (side, side + 1)):
        part = part_resized_from(Resizing(labels.shape, shape), block)
        corner = block[0].start, block[1].start
        assert (resized[part] == -1).all()
        resized[part] = resize_labels_part(labels[block], Resizing(labels.shape, shape), part, corner=corner)
    np.testing.assert_array_equal(resized, resize_labels(labels, shape))


def test_smooth_labels_are_smooth_and_keep_their_place_and_size():
    rows, columns = np.indices((60, 80))
    labels = np.where(np.hypot(rows - 20, columns - 24) < 12, 1, 0)
    labels = np.where(np.hypot(rows - 40, columns - 55) < 9, 2, labels)
    peaks = np.array([[20, 24], [40, 55]])
    smooth = smooth_labels(labels, peaks, (180, 240), blur=1.0)
    blocks = resize_labels(labels, (180, 240))
    for label, radius in ((1, 12), (2, 9)):
        place = (peaks[label - 1] + 0.5) * 3 - 0.5
        far = np.hypot(*(np.argwhere(smooth == label) - place).T)
        np.testing.assert_allclose(np.argwhere(smooth == label).mean(0), place, atol=0.2)
        # A little less than the disc, and nowhere a step as those of the blocks.
        assert 3 * radius - 3 < far.max() < 3 * radius
        rim = smooth == label
        rim &= ndimage.binary_dilation(smooth != label)
        spread = np.hypot(*(np.argwhere(rim) - place).T)
        edge = (blocks == label) & ndimage.binary_dilation(blocks != label)
        assert np.ptp(spread) < 0.8 * np.ptp(np.hypot(*(np.argwhere(edge) - place).T))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.4, 1.0, 2.5]), st.sampled_from([1.0, 2.3, 0.7]))
def test_smooth_labels_are_whole_hold_their_peak_and_lie_near_their_cell(seed, blur, factor):
    random = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(random.normal(size=(5, 30, 26)), (0, 2, 2))
    labels = np.where(blobs.max(0) > 0.1, blobs.argmax(0) + 1, 0)
    peaks = np.zeros((5, 2), int)
    for label in range(1, 6):
        parts, count = ndimage.label(labels == label, np.ones((3, 3)))
        if count:
            peaks[label - 1] = np.argwhere(parts == 1)[0]
            labels[(labels == label) & (parts != 1)] = 0
    shape = scaled_shape((30, 26), factor)
    smooth, nearest = smooth_labels(labels, peaks, shape, blur=blur), resize_labels(labels, shape)
    assert smooth.dtype == np.int32
    for label in range(1, 6):
        own = smooth == label
        if factor >= 1:
            assert own.any() == (labels == label).any()
        if not own.any():
            continue
        place = np.clip(
            np.round((peaks[label - 1] + 0.5) * np.divide(shape, (30, 26)) - 0.5), 0, np.subtract(shape, 1)
        )
        assert factor < 1 or own[tuple(place.astype(int))]
        assert not own[ndimage.distance_transform_edt(nearest != label) > 3 * blur * factor + 2].any()


def test_a_cell_thinner_than_the_blur_keeps_its_shape():
    labels = np.zeros((12, 12), int)
    labels[6, 2:10] = 1
    smooth = smooth_labels(labels, np.array([[6, 4]]), (24, 24), blur=2.0)
    np.testing.assert_array_equal(smooth, resize_labels(labels, (24, 24)))


def test_smooth_labels_do_not_depend_on_the_order_of_the_cells():
    random = np.random.default_rng(2)
    blobs = ndimage.gaussian_filter(random.normal(size=(6, 40, 40)), (0, 1.2, 1.2))
    labels = np.where(blobs.max(0) > 0.1, blobs.argmax(0) + 1, 0)
    peaks = np.array([np.argwhere(labels == label)[0] for label in range(1, 7)])
    order = random.permutation(6)
    renamed = np.concatenate([[0], np.argsort(order) + 1])[labels]
    smooth = smooth_labels(labels, peaks, (90, 90), blur=1.0)
    again = smooth_labels(renamed, peaks[order], (90, 90), blur=1.0)
    np.testing.assert_array_equal(np.concatenate([[0], order + 1])[again], smooth)


# Channels


def test_colours_are_stretched_alike_and_other_channels_each_by_itself():
    image = np.random.default_rng(0).random((30, 40, 3)).astype(np.float32) * [1, 10, 100] + [5, 0, -7]
    image = image.astype(np.float32)
    alone = normalize_by(ImageConfig(channels=(0, 1, 2)), image)
    alike = normalize_by(ImageConfig(channels="colours"), image)
    look = {"method": "percentile", "low": 1.0, "high": 99.8}
    for channel in range(3):
        np.testing.assert_array_equal(alone[..., channel], normalize_image(image[..., channel], **look))
    bottom, top = np.percentile(image, [1, 99.8])
    np.testing.assert_allclose(alike, ((image - bottom) / (top - bottom)).clip(0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", ["colours", (0, 1, 2)])
def test_constant_images_and_channels(channels):
    image = np.full((9, 7, 3), [1, 2, 3], np.float32)
    assert is_constant(image)
    assert not normalize_by(ImageConfig(channels=channels), image).any()
    image[3, 4, 2] = 9
    assert not is_constant(image)
    assert normalize_by(ImageConfig(channels=channels), image)[3, 4, 2] == 1


def test_grey_is_the_mean_of_channels():
    image = np.random.default_rng(0).random((9, 7, 4), np.float32)
    np.testing.assert_allclose(grey(image), sum(image[..., i] for i in range(4)) / 4, rtol=1e-6)
    np.testing.assert_array_equal(grey(image[..., 0]), image[..., 0])


@pytest.mark.parametrize(
    ("shape", "channels", "sentence"),
    [
        ((5, 6, 3), "grey", "the image has 3 channels, but the model takes 1 (image.channels=grey); give"),
        ((5, 6), "colours", "the image has 1 channel, but the model takes 3 (image.channels=colours); give"),
        ((5, 6, 2), (0, 1, 2), "the image has 2 channels, but the model takes 3 (image.channels=[0, 1, 2]); give"),
        ((5, 6, 1), "grey", "the image is of shape (5, 6, 1); remove its last axis, which has one channel alone"),
        ((5,), "grey", "the image is of shape (5,); give an array of rows and columns"),
        ((5, 0), "grey", "the image is of shape (5, 0); give an array of rows and columns"),
    ],
)
def test_images_of_other_channels_are_refused(shape, channels, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        check_channels(shape, channels)
    for good in ((4, 5), (4, 5, 3)):
        check_channels(good, "grey" if len(good) == 2 else "colours")


# Parts


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.sampled_from([0.2, 0.435, 0.5, 0.9, 1.0, 1.3, 2.5]),
    st.integers(1, 25),
)
def test_parts_of_an_image_are_resized_as_the_whole(shape, scale, side):
    image = np.random.default_rng(0).random((*shape, 2), np.float32)
    expected = resize_image(image, scale)
    for channel in range(2):
        np.testing.assert_array_equal(expected[..., channel], resize_image(image[..., channel], scale))
    for part in grid_windows(expected.shape[:2], (side, side)):
        sizes = Resizing(shape, expected.shape[:2])
        taken = part_before_resizing(sizes, part)
        corner = taken[0].start, taken[1].start
        resized = resize_part(image[taken], sizes, part, corner=corner)
        np.testing.assert_allclose(resized, expected[part], rtol=0, atol=2e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.7, 1.0, 2.3]), st.sampled_from([0.6, 1.5]))
def test_parts_of_labels_are_resized_and_smoothed_as_the_whole(seed, factor, blur):
    random = np.random.default_rng(seed)
    peaks = random.integers(0, 40, (6, 2))
    rows, columns = np.indices((40, 40))
    labels = np.zeros((40, 40), np.int32)
    for label, (row, column) in enumerate(peaks, start=1):
        labels[np.hypot(rows - row, columns - column) < random.uniform(0.5, 7)] = label
    shape = scaled_shape(labels.shape, factor)
    smooth, nearest = smooth_labels(labels, peaks, shape, blur=blur), resize_labels(labels, shape)
    for part in grid_windows(shape, (17, 17)):
        # Cells reach up to 7 pixels from their peaks; blurs a little farther.
        low = [max(int(side.start / factor) - 21, 0) for side in part]
        high = [int(np.ceil(side.stop / factor)) + 21 for side in part]
        cut = labels[low[0] : high[0], low[1] : high[1]]
        sizes, corner = Resizing(labels.shape, shape), (low[0], low[1])
        smoothed = smooth_part(cut, peaks, sizes, part, blur=blur, corner=corner)
        np.testing.assert_array_equal(smoothed, smooth[part])
        np.testing.assert_array_equal(resize_labels_part(cut, sizes, part, corner=corner), nearest[part])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1.4, 2.3]), st.sampled_from([0.6, 1.5, 3.0]))
def test_a_thin_cell_cuts_no_other_in_two_and_keeps_its_pixels(seed, factor, blur):
    random = np.random.default_rng(seed)
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:35] = 1
    peaks = np.array([(8, 20), (random.integers(12, 32), 10)])
    labels[peaks[1, 0], 5 : random.integers(28, 35)] = 2  # cuts the first in two but for a few pixels
    shape = scaled_shape(labels.shape, factor)
    smooth, nearest = smooth_labels(labels, peaks, shape, blur=blur), resize_labels(labels, shape)
    assert not ((smooth != nearest) & (smooth != 0) & (nearest != 0)).any()
    for label in (1, 2):
        assert ndimage.label(smooth == label, np.ones((3, 3)))[1] == 1


# Sides that images are padded to: every image fits, programs are few, and no more is padded than that takes

SHAPES = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=30)


@settings(deadline=None)
@given(SHAPES, st.sampled_from([1, 4, 16]), st.integers(1, 5))
def test_every_shape_fits_into_few_sides(shapes, stride, programs):
    sides = shared_sides(shapes, stride=stride, programs=programs)
    assert len(sides) <= programs
    for pair in sides:
        assert pair[0] % stride == pair[1] % stride == 0
    for shape in shapes:
        found = fitting(rounded_up(shape, stride), sides)
        assert found is not None
        assert found[0] >= shape[0]
        assert found[1] >= shape[1]


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=4), st.just(16))
def test_few_sizes_are_only_rounded(shapes, stride):
    assert set(shared_sides(shapes, stride=stride)) == {rounded_up(shape, stride) for shape in shapes}


def test_the_cheapest_merge_comes_first():
    # Two that are nearly alike become one, although a third occurs more often.
    shapes = [(512, 512), (512, 528), (1024, 1024), (1024, 1024), (64, 2048)]
    assert shared_sides(shapes, stride=16, programs=3) == [(64, 2048), (512, 528), (1024, 1024)]


def test_hundreds_of_sizes_take_no_time():
    shapes = [(200 + 3 * i, 900 - 2 * i) for i in range(400)]
    assert len(shared_sides(shapes, stride=16)) == 4


@pytest.mark.parametrize(
    ("shape", "expected"), [((10, 10), (16, 32)), ((17, 10), (32, 32)), ((64, 10), (64, 64)), ((65, 10), None)]
)
def test_the_smallest_that_fits(shape, expected):
    assert fitting(shape, [(64, 64), (16, 32), (32, 32)]) == expected


def test_no_images():
    assert shared_sides([], stride=16) == []
