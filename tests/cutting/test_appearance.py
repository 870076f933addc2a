"""How cells look: what tells them from the ground, whatever their polarity, colour and light."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsis_jax.core.config import Config
from wsis_jax.core.geometry import nearest_peak
from wsis_jax.core.types import WinnerMap
from wsis_jax.core.windows import grid_windows, grow, relative_to, whole_window
from wsis_jax.cutting.appearance import (
    ChannelMoments,
    MapHistograms,
    appearance_of,
    axis_of,
    channel_moments,
    fit_appearance,
    levels_of,
    local_variance,
    map_histograms,
    with_channels,
)
from wsis_jax.cutting.label_cells import chosen_settings, cut_and_fuse
from wsis_jax.synthetic import draw_scene

SIGMA = 5.0
CONFIG = Config().override(["image.scale=1", "likelihood.sigma=5"])


def stained(seed, *, cell=1.0, ground=0.0, tilt=0.0, dim=1.0):
    """Discs of 20 pixels with their peaks and labels; light rises by `tilt`, every second disc is `dim`."""
    rng = np.random.default_rng(seed)
    peaks = np.stack(np.meshgrid(np.arange(20, 140, 30), np.arange(20, 140, 30), indexing="ij"), -1).reshape(-1, 2)
    peaks = peaks + rng.integers(-2, 3, peaks.shape)
    index, distance = nearest_peak(peaks, (160, 160))
    labels = np.where(distance <= 10, index + 1, 0).astype(np.int32)
    height = np.where(np.arange(len(peaks)) % 2, dim, 1.0)
    image = ground + (cell - ground) * np.where(labels > 0, height[index], 0)
    image = ndimage.gaussian_filter(image, 1.0) + tilt * np.linspace(0, 1, 160)[:, None]
    return (image + rng.normal(0, 0.02, image.shape)).astype(np.float32), peaks, labels


def cut(image, peaks, config=CONFIG):
    """The labels where contributions say no more than where the peaks are."""
    index, distance = nearest_peak(peaks, image.shape[:2])
    value = np.where(distance <= 3, 1, 0).astype(np.float32)
    owner = np.where(distance <= 3, index + 1, 0).astype(np.int32)
    return cut_and_fuse(image, peaks, WinnerMap(value, owner, np.zeros_like(value)), config=config).labels


def dice(found, true):
    both = [
        2 * ((found == i) & (true == i)).sum() / ((found == i).sum() + (true == i).sum()) for i in range(1, 17)
    ]
    return np.mean(both)


@pytest.mark.parametrize(
    "look",
    [
        {"cell": 0.9, "ground": 0.1},
        {"cell": 0.1, "ground": 0.9},
        {"cell": 0.6, "ground": 0.1, "tilt": 0.3},
        {"cell": 0.9, "ground": 0.1, "dim": 0.4},
        {"cell": 0.9, "ground": 0.5, "dim": -1.0, "tilt": 0.2},
    ],
    ids=["bright", "dark", "uneven light", "dim beside bright", "dark beside bright"],
)
def test_stained_cells_are_cut_out_without_a_setting(look):
    image, peaks, labels = stained(0, **look)
    assert dice(cut(image, peaks), labels) > 0.9


def test_colour_tells_what_grey_values_do_not():
    grey, peaks, labels = stained(1)
    colours = np.stack([0.5 + 0.3 * grey, 0.5 - 0.3 * grey, np.full_like(grey, 0.5)], axis=-1)
    assert dice(cut(colours, peaks), labels) > 0.9
    assert dice(cut(colours.mean(-1), peaks), labels) < 0.7


def test_phase_contrast_is_left_to_its_own_term():
    scene = draw_scene(0, shape=(160, 160), cells=20, diameter=20.0)
    peaks = np.round(scene.points).astype(int)
    image = scene.image.astype(np.float32)
    appearance = fit_appearance(with_channels(image), nearest_peak(peaks, image.shape)[1], sigma=SIGMA)
    assert not appearance.is_stained
    assert chosen_settings(CONFIG.cut, appearance) == chosen_settings(
        CONFIG.override(["cut.data=inverse"]).cut, None
    )
    np.testing.assert_array_equal(cut(image, peaks), cut(image, peaks, CONFIG.override(["cut.data=inverse"])))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([40, 64, 160]))
def test_parts_look_as_the_whole_does(seed, channels, side):
    rng = np.random.default_rng(seed)
    image, peaks, _ = stained(seed, cell=0.8, ground=0.2)
    pixels = np.stack([image * rng.uniform(-1, 1) for _ in range(channels)], axis=-1)
    distance = nearest_peak(peaks, image.shape)[1]
    whole = fit_appearance(pixels, distance, sigma=SIGMA)
    parts = grid_windows(image.shape, (side, side))
    axis = axis_of(
        reduce(ChannelMoments.join, [channel_moments(pixels[part], distance[part], sigma=SIGMA) for part in parts])
    )
    np.testing.assert_allclose(axis.weights, whole.axis.weights, atol=2e-6)
    values = whole.axis.map(pixels)
    sums = []
    for part in parts:
        around = grow(part, int(2 * SIGMA) + 1, whole_window(image.shape))
        variance = local_variance(values[around], sigma=SIGMA)[relative_to(part, around)]
        sums.append(map_histograms(values[part], variance, distance[part], axis=whole.axis, sigma=SIGMA))
    found = appearance_of(whole.axis, reduce(MapHistograms.join, sums))
    np.testing.assert_array_equal(found.odds, whole.odds)
    assert found.rim == pytest.approx(whole.rim)
    assert found.texture == pytest.approx(whole.texture)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.2, 0.5]))
def test_levels_against_a_loop(seed, cells, low):
    rng = np.random.default_rng(seed)
    peaks = rng.integers(0, 40, (cells, 2))
    values, (index, distance) = rng.uniform(-1, 3, (40, 40)), nearest_peak(peaks, (40, 40))
    found = levels_of(values, index, distance, sigma=SIGMA, ground_quantile=low)
    for cell in range(int(index.max()) + 1):
        for level, near, q in (
            (found.cell, distance <= 0.8 * SIGMA, 0.5),
            (found.ground, (distance > SIGMA) & (distance <= 4 * SIGMA), low),
        ):
            own = np.sort(values[near & (index == cell)])
            assert level[cell] == (own[int(len(own) * q)] if len(own) else 0)


def test_an_image_without_ground_is_not_guessed():
    peaks = np.argwhere(np.ones((8, 8), bool)) * 5
    image = np.random.default_rng(0).uniform(0, 1, (40, 40)).astype(np.float32)
    assert fit_appearance(with_channels(image), nearest_peak(peaks, image.shape)[1], sigma=SIGMA) is None
    assert cut(image, peaks).max() == len(peaks)


def test_the_separation_is_one_minus_the_overlap():
    image, peaks, _ = stained(0, cell=0.9, ground=0.1)
    distance = nearest_peak(peaks, image.shape)[1]
    assert fit_appearance(with_channels(image), distance, sigma=SIGMA).separation > 0.95
    noise = np.random.default_rng(0).normal(0.5, 0.1, image.shape)
    assert fit_appearance(with_channels(noise), distance, sigma=SIGMA).separation < 0.2
