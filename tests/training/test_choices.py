"""What a training chose is told in words, with what the images showed."""

import pytest

from wsis_jax.core.config import Config, preset
from wsis_jax.training.choices import choices

CONFIG = Config().override(
    ["image.diameter=40", "likelihood.sigma=10", "image.scale=0.5", "image.channels=colours", "cut.data=levels"]
)
STAINED = {"stained": True, "separation": 0.84, "contrast": 1.93, "rim": 0.1, "texture": 0.05}


def told(config=CONFIG, images=()):
    return {one.name: (one.value, one.meaning) for one in choices(config, images)}


def test_sizes_and_channels():
    found = told()
    assert found["Diameter"] == ("40 px", "of a typical cell, from images and points unless --diameter gave it")
    assert found["Scale"] == ("0.5", "by which images are resized: a cell is 20 pixels wide to the network")
    assert found["Sigma"] == (
        "10 px",
        "width of a peak of the likelihood map, a quarter of the diameter; 5 px to the network",
    )
    assert found["Channels"][0] == "colours"
    assert "0.30 of the diameter" in told(CONFIG.override(["likelihood.sigma=12"]))["Sigma"][1]
    assert told(CONFIG.override(["image.channels=[0,2]"]))["Channels"][0] == "0,2"


def test_a_stained_set_is_cut_by_levels_and_says_why():
    images = [STAINED, STAINED | {"separation": 0.9}, {"name": "too little seen"}]
    value, why = told(images=images)["Cells are cut"]
    assert value == "levels"
    assert why == (
        "by grey value or colour: each cell up to a level between its own and that of the ground around it. Cells "
        "look stained in 2 of 2 images: grey value or colour at clicks and far from them has a separation of 0.87 "
        "(stained from 0.65), a contrast of 1.9 (from 1), a rim of 0.10 (below 0.25) and a texture of 0.05 (below "
        "0.27), in the median."
    )
    assert told()["Outlines"] == (
        "at the steepest change",
        "a cell holds what contributed above 60% of its greatest to its peak; at most 60 px from it",
    )


def test_a_run_from_before_there_was_a_texture_tells_of_none():
    before = {name: value for name, value in STAINED.items() if name != "texture"}
    assert "texture" not in told(images=[before])["Cells are cut"][1]


def test_phase_contrast_is_cut_by_contributions():
    config = CONFIG.override(["cut.data=inverse", "cut.reach=null"])
    found = told(config, [STAINED | {"stained": False, "rim": 0.4}])
    assert found["Cells are cut"][0] == "inverse"
    assert "look stained in no image: " in found["Cells are cut"][1]
    assert "a rim of 0.40 (below 0.25) and a texture of 0.05 (below 0.27)." in found["Cells are cut"][1]
    assert found["Outlines"] == (
        "at rims",
        "a cell holds what contributed above 5% of its greatest to its peak",
    )


def test_images_that_differ_are_cut_each_by_itself():
    found = told(CONFIG.override(["cut.data=auto"]), [STAINED, STAINED | {"stained": False}])
    assert found["Cells are cut"][1].startswith("levels where the cells of an image look stained, else inverse")
    assert "stained in 1 of 2 images" in found["Cells are cut"][1]
    assert found["Outlines"][0] == "as it suits the image"


@pytest.mark.parametrize("name", ["default", "paper", "reference"])
def test_every_preset_can_be_told(name):
    found = told(preset(name, CONFIG))
    assert all(value for value, _ in found.values())
