"""Areas that were not scanned stay out of the percentiles, and nothing else does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from wsis_jax.core.border_areas import Reach
from wsis_jax.core.images import normalize_image
from wsis_jax.core.windows import grid_windows
from wsis_jax.synthetic import draw_scene

BITS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


def normalized(image: np.ndarray) -> np.ndarray:
    return normalize_image(image, method="percentile", low=1.0, high=99.8)


def plainly(image: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """What percentiles of all pixels, or of those that count, make of an image."""
    values = image.astype(np.float64)
    bottom, top = np.percentile(values if counted is None else values[counted], [1.0, 99.8])
    if bottom >= top:
        bottom, top = values.min(), values.max()
    return np.clip((values - bottom) / (top - bottom), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def field():
    """A field of view in 8 bits, as a phase-contrast microscope gives it: from about 60 to 220."""
    image = draw_scene(3, shape=(120, 150), cells=20, diameter=22.0).image
    return np.round(60 + 160 * (image - image.min()) / np.ptp(image)).astype(np.float32)


# How far a value reaches in


def seen_from_the_border(others: np.ndarray) -> int:
    """Counts pixels one by one."""
    count = 0
    for row, column in np.ndindex(others.shape):
        ways = others[row, : column + 1], others[row, column:], others[: row + 1, column], others[row:, column]
        count += not all(way.any() for way in ways)
    return count


@given(BITS)
def test_pixels_that_see_the_border_are_counted(others):
    assert Reach.of(others).pixels() == seen_from_the_border(others)


@given(BITS, st.integers(1, 5))
def test_parts_make_up_the_whole(others, side):
    whole = Reach.everywhere(others.shape)
    for window in grid_windows(others.shape, (side, side + 1)):
        whole.add(window, Reach.of(others[window]))
    for own, expected in zip(whole, Reach.of(others), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_an_image_is_counted_in_strips(monkeypatch):
    others = np.random.default_rng(0).random((40, 30)) > 0.5
    expected = Reach.of(others).pixels()
    monkeypatch.setattr("wsis_jax.core.border_areas._STRIP", 70)
    assert Reach.of(others).pixels() == expected


# What stays out


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_a_scan_with_a_border_is_normalised_as_one_without(field, value):
    framed = np.full((160, 200), value, np.float32)
    inside = np.s_[10:130, 5:155]
    framed[inside] = field
    np.testing.assert_array_equal(normalized(framed)[inside], normalized(field))
    assert set(np.unique(np.delete(normalized(framed), np.s_[5:155], 1))) == {float(value > 0)}


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_so_is_a_turned_one(field, value):
    turned = ndimage.rotate(field - 300, 17, order=0, cval=0.0)
    scanned = turned < 0
    image = np.where(scanned, turned + 300, value).astype(np.float32)
    assert 0.2 < 1 - scanned.mean() < 0.6
    np.testing.assert_array_equal(normalized(image), plainly(image, scanned))


def test_black_and_white_borders_stay_out_together(field):
    image = np.pad(np.pad(field, ((0, 0), (20, 0))), ((0, 30), (0, 0)), constant_values=255)
    np.testing.assert_array_equal(normalized(image)[: len(field), 20:], normalized(field))


def with_an_edge(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A field of at most 200 with the edge of a well in a corner, and where that is: a fiftieth of the image."""
    rows, columns = np.indices(field.shape)
    edge = rows + 0.7 * columns < 24
    assert 0.01 < edge.mean() < 0.03
    return np.where(edge, 360, np.minimum(field, 200)).astype(np.float32), edge


def test_a_bright_edge_stays_out_and_becomes_white(field):
    image, edge = with_an_edge(field)
    found = normalized(image)
    np.testing.assert_array_equal(found, plainly(image, ~edge))
    assert (found[edge] == 1).all()
    assert np.ptp(found[~edge]) > 1.5 * np.ptp(plainly(image)[~edge])


@pytest.mark.parametrize("alike", [True, False])
def test_of_several_channels_each_by_itself_has_an_edge(field, alike):
    image, edge = with_an_edge(field)
    channels = np.stack([image, field], axis=-1)
    found = normalize_image(channels, method="percentile", low=1.0, high=99.8, alike=alike)
    if alike:  # what is bright may be the ground
        np.testing.assert_array_equal(found, plainly(channels))
    else:
        np.testing.assert_array_equal(found, np.stack([plainly(image, ~edge), plainly(field)], axis=-1))


# Of several channels


@pytest.fixture(scope="module")
def stained(field):
    """A field in colours, of which red never is as dark, nor as bright, as the others."""
    return np.stack([0.5 * field + 60, field, field[::-1]], axis=-1).astype(np.float32)


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("value", [0.0, 255.0])
def test_a_border_that_all_channels_show_stays_out(stained, value, alike):
    framed = np.pad(stained, ((10, 30), (5, 45), (0, 0)), constant_values=value)
    method = {"method": "percentile", "low": 1.0, "high": 99.8, "alike": alike}
    found = normalize_image(framed, **method)
    np.testing.assert_array_equal(found[10:130, 5:155], normalize_image(stained, **method))
    assert set(np.unique(found[:, :5])) == {float(value > 0)}


def test_what_one_channel_alone_shows_counts(stained):
    framed = stained.copy()
    framed[:, :40, 2] = 0
    expected = np.stack([plainly(channel) for channel in np.moveaxis(framed, -1, 0)], axis=-1)
    np.testing.assert_array_equal(normalized(framed), expected)


def test_a_channel_that_leads_up_to_the_border_keeps_it(stained):
    framed = np.pad(stained, ((0, 40), (0, 0), (0, 0)))
    framed[:120, :, 0] = np.arange(150) // 4
    found = normalized(framed)
    np.testing.assert_array_equal(found[..., 0], plainly(framed[..., 0]))
    np.testing.assert_array_equal(found[:120, :, 1], normalized(stained[..., 1]))


# What does not


def test_white_ground_of_a_stained_slide_counts(field):
    slide = np.clip(ndimage.gaussian_filter(np.pad(field, 30, constant_values=330), 3), 0, 255).astype(np.float32)
    assert Reach.of(slide != 255).pixels() > 0.2 * slide.size
    np.testing.assert_array_equal(normalized(slide), plainly(slide))


def test_black_ground_of_fluorescence_counts():
    rng = np.random.default_rng(0)
    light = ndimage.gaussian_filter((rng.random((150, 150)) > 0.997).astype(float), 6)
    counts = np.clip(rng.poisson(3000 * light / light.max()) - 200, 0, None).astype(np.float32)
    assert (counts == 0).mean() > 0.3
    np.testing.assert_array_equal(normalized(counts), plainly(counts))


def test_bright_cells_that_do_not_touch_the_border_count(field):
    image, _ = with_an_edge(field)
    image = np.roll(image, (30, 40), (0, 1))
    np.testing.assert_array_equal(normalized(image), plainly(image))


def test_so_do_cells_in_fluorescence_that_all_touch_the_border():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, (120, 150)).astype(np.float32)
    image[:10, 20:60] += 400
    image[70:110, :8] += 300
    np.testing.assert_array_equal(normalized(image), plainly(image))


def test_bright_ground_that_is_more_than_a_twentieth_counts(field):
    image = field.copy()
    image[:, :10] = np.random.default_rng(0).normal(330, 5, (120, 10))
    np.testing.assert_array_equal(normalized(image), plainly(image))


def test_cells_cut_out_of_their_ground_keep_it():
    masks = draw_scene(5, shape=(150, 150), cells=20, diameter=20.0).labels > 0
    cut_out = np.where(masks, np.random.default_rng(0).integers(100, 200, masks.shape), 0).astype(np.float32)
    np.testing.assert_array_equal(normalized(cut_out), plainly(cut_out))


@settings(deadline=None)
@given(
    npst.arrays(
        np.float32, npst.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9), elements=st.integers(0, 6)
    )
)
def test_what_has_no_area_at_the_border_is_normalised_by_all_of_it(image):
    image[0], image[-1], image[:, 0], image[:, -1] = 3, 3, 3, 3
    if image.min() < 3 < image.max():
        np.testing.assert_array_equal(normalized(image), plainly(image))
