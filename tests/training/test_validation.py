"""The pictures of a training: the outlines in them are those of a segmentation, of the part with most cells."""

import numpy as np
import pytest
from PIL import Image

from wsis_jax import segment
from wsis_jax.core import normalize_by
from wsis_jax.network import load_variables
from wsis_jax.network.model import build_model
from wsis_jax.training import validation
from wsis_jax.training.patches import make_sample
from wsis_jax.training.validation import richest_part, write_samples


def test_the_part_with_most_points_is_shown():
    points = np.array([[5.0, 5.0], [80.0, 150.0], [90.0, 160.0], [100.0, 155.0], [20.0, 90.0]])
    assert richest_part(points, (120, 200), side=40) == (slice(70, 110), slice(140, 180))


def test_the_part_stays_in_the_image():
    assert richest_part(np.array([[2.0, 198.0]]), (120, 200), side=40) == (slice(0, 40), slice(160, 200))
    assert richest_part(np.array([[2.0, 198.0]]), (30, 200), side=40) == (slice(0, 30), slice(160, 200))


def test_without_points_the_middle_is_shown():
    assert richest_part(np.empty((0, 2)), (120, 200), side=40) == (slice(40, 80), slice(80, 120))


@pytest.fixture(scope="module")
def samples(tiny_run):
    config = tiny_run.model.config
    return [
        make_sample(normalize_by(config.image, scene.image), scene.points, scale=1.0, sigma=3.0, name=f"i{index}")
        for index, scene in enumerate(tiny_run.scenes)
    ]


def test_outlines_are_those_of_a_segmentation(tiny_run, samples):
    config = tiny_run.model.config.override(["detect.views=1", "cut.min_area=0"])
    found = segment(tiny_run.model, tiny_run.scenes[0].image, config=config)
    detection = found.detection
    fused = validation._cut(tiny_run.model, samples[0].image, detection.likelihood, detection.peaks)
    assert fused.labels.max() > 1
    np.testing.assert_array_equal(fused.fit(detection.peaks, (64, 64)), found.labels)


def coloured(picture):
    """How many pixels of a picture are of a colour."""
    return int((np.ptp(picture.astype(int), axis=2) > 60).sum())


def test_one_of_the_images_is_shown_with_outlines(tiny_run, samples, tmp_path, monkeypatch):
    network, variables = build_model(tiny_run.model.config), load_variables(tiny_run.folder)
    drawn = {}
    for name, most in {"all": 200, "none": 0}.items():
        monkeypatch.setattr(validation, "_MOST_OUTLINED", most)
        # The first has no cells, so that another one is outlined.
        write_samples(tmp_path / "a.png", network, variables, [samples[5], samples[0]], tiny_run.model.config)
        with Image.open(tmp_path / "a.png") as picture:
            drawn[name] = np.asarray(picture)
    height, width, _ = drawn["all"].shape
    rows, panel = (slice(0, height // 2), slice(height // 2, height)), slice(2 * width // 3, width)
    assert (drawn["all"][rows[0], panel] == 255).all()
    assert coloured(drawn["all"][rows[1], panel]) > 300
    assert coloured(drawn["none"][rows[1], panel]) == 0
