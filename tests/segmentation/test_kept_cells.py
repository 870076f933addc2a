"""Sizes of found cells: specks are dropped, and cells of quite another size are told of."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsis_jax.core.config import Config, preset
from wsis_jax.core.errors import collecting_warnings
from wsis_jax.core.types import Detection, Segmentation, WinnerMap
from wsis_jax.output.cell_table import contribution_margins
from wsis_jax.segmentation.kept_cells import areas_of, choose_cells, numbers_of, warn_of_size, without_specks
from wsis_jax.segmentation.pipeline import segment


def found_with(labels: np.ndarray, cells: int) -> Segmentation:
    """A segmentation in which all maps but the labels are those of the same cells turned upside down."""
    rng, turned = np.random.default_rng(0), labels[::-1].astype(np.int32)
    value = rng.random(labels.shape, np.float32)
    peaks = rng.integers(0, min(labels.shape), (cells, 2))
    detection = Detection(value, value, peaks, turned)
    points, scores = rng.random((cells, 2)), rng.random(cells, np.float32)
    return Segmentation(labels, points, scores, detection, WinnerMap(value, turned, 0.5 * value))


def test_the_least_area_is_a_share_of_that_of_the_typical_cell():
    config = Config().override(["image.diameter=20", "cut.min_area=0.1"])
    assert config.least_area == pytest.approx(0.1 * math.pi * 10**2)
    old = Config().override(["likelihood.sigma=5", "cut.min_area=0.1"])
    assert old.least_area == pytest.approx(config.least_area)
    assert Config().override(["cut.min_area=0"]).least_area == 0  # whatever the diameter is
    assert [preset(name).cut.min_area for name in ("default", "paper", "reference")] == [0.05, 0, 0]


@given(
    npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 6)),
    st.integers(0, 12),
)
def test_what_is_kept_is_what_it_was_under_other_numbers(labels, least):
    config = Config().override(["image.diameter=4", f"cut.min_area={least / (4 * math.pi)}"])
    found = found_with(labels, 6)
    areas = areas_of(labels, 6)
    kept = without_specks(areas, config)
    assert kept.tolist() == [cell for cell in range(6) if (labels == cell + 1).sum() >= config.least_area]
    chosen = choose_cells(found, kept)
    assert (chosen.dropped, len(chosen.points)) == (6 - len(kept), len(kept))
    for old, new in (
        (found.labels, chosen.labels),
        (found.winner.owner, chosen.winner.owner),
        (found.detection.regions, chosen.detection.regions),
    ):
        expected = np.zeros_like(old)
        for number, cell in enumerate(kept, start=1):
            expected[old == cell + 1] = number
        np.testing.assert_array_equal(new, expected)
    for old, new in (
        (found.points, chosen.points),
        (found.scores, chosen.scores),
        (found.detection.peaks, chosen.detection.peaks),
    ):
        np.testing.assert_array_equal(new, old[kept])
    margins = [contribution_margins(one.labels, one.winner, len(one.points)) for one in (found, chosen)]
    np.testing.assert_array_equal(margins[0][kept], margins[1])


def test_a_table_of_numbers_has_those_of_some_cells():
    assert numbers_of(np.array([1, 4]), 5).tolist() == [0, 0, 1, 0, 0, 2]


def test_specks_are_dropped_and_counted(tiny_run, draw_small):
    image = draw_small(7, cells=38, shape=(150, 173)).image
    config = tiny_run.model.config.override(["detect.threshold=0.25", "cut.min_area=0"])
    everything = segment(tiny_run.model, image, config=config)
    areas = areas_of(everything.labels, len(everything.points))
    least = np.median(areas) + 0.5
    config = config.override([f"cut.min_area={least / (math.pi / 4 * config.image.diameter**2)}"])
    large = segment(tiny_run.model, image, config=config)
    assert everything.dropped == 0
    assert large.dropped == (areas < least).sum() > 10
    np.testing.assert_array_equal(large.points, everything.points[areas >= least])
    np.testing.assert_array_equal(areas_of(large.labels, len(large.points)), areas[areas >= least])
    at = large.labels[tuple(np.round(large.points).astype(int).T)]
    np.testing.assert_array_equal(at, np.arange(1, len(large.points) + 1))


@pytest.mark.parametrize(
    ("diameters", "said"),
    [
        ([20] * 5, None),
        ([13, 13, 31, 31, 20], None),
        ([33] * 6, "the cells look about 33 pixels wide, and the model learned cells of 20; try --diameter 33"),
        ([1, 7, 7, 12, 90], "the cells look about 7 pixels wide, and the model learned cells of 20; try"),
        ([90] * 4, None),  # too few
        ([], None),
    ],
)
def test_cells_of_quite_another_size_are_told_of(diameters, said):
    with collecting_warnings() as warned:
        warn_of_size(np.round(math.pi / 4 * np.array(diameters) ** 2).astype(int), 20.0)
    assert len(warned) == (said is not None)
    assert said is None or warned[0].startswith(said)


def test_a_model_that_is_shown_large_cells_says_so_unless_it_was_told(phase_contrast):
    from wsis_jax.network.model import load_model
    from wsis_jax.synthetic import draw_scene

    model = load_model(phase_contrast)
    image = draw_scene(0, shape=(480, 480), cells=12, diameter=80.0).image
    with pytest.warns(
        UserWarning, match=r"the cells look about \d+ pixels wide, and the model learned cells of 40"
    ):
        segment(model, image, config=model.config.override(["detect.views=1"]))
    segment(model, image, config=model.config.override(["detect.views=1"]).for_diameter(80))
