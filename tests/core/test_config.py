"""Settings: JSON and back, assignments and their errors, presets."""

import dataclasses
import inspect
import json
import re

import pytest

from wsis_jax.core.config import Config, ImageConfig, TrainConfig, UNetConfig, preset, small_network
from wsis_jax.core.errors import UserError

PRESETS = ["default", "paper", "reference"]


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    config = preset(name)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_presets_differ_and_default_is_config():
    assert preset("default") == Config()
    assert len({json.dumps(preset(name).to_dict()) for name in PRESETS}) == 3


def test_presets_hold_what_paper_and_code_say():
    paper, reference = preset("paper"), preset("reference")
    assert (paper.image.normalization, paper.image.scale) == (reference.image.normalization, reference.image.scale)
    assert (reference.image.normalization, reference.image.scale) == ("max", 1.0)
    assert (paper.train.patch, reference.train.patch) == (320, 256)
    assert (paper.detect.region, reference.detect.region) == ("response", "disc")
    assert (paper.contribution.start, reference.contribution.start) == ("likelihood", "one")
    assert (paper.cut.data, reference.cut.data) == ("inverse", "flat")
    assert reference.likelihood.sigma * reference.detect.radius == pytest.approx(31.0, abs=0.05)
    assert reference.unet.align_corners


def test_missing_sections_and_keys_get_defaults():
    assert Config.from_dict({}) == Config()
    config = Config.from_dict({"train": {"steps": 7}})
    assert config == dataclasses.replace(Config(), train=TrainConfig(steps=7))


def test_settings_that_are_gone_are_ignored_in_old_run_folders_and_unknown_elsewhere():
    assert Config.from_dict({"train": {"select": "f_measure", "steps": 7}}) == Config.from_dict(
        {"train": {"steps": 7}}
    )
    with pytest.raises(UserError, match=r"unknown key 'select' in .*; section train has steps, batch,"):
        Config().override(["train.select=loss"])


@pytest.mark.parametrize("known", [["image.diameter=30"], []])
def test_the_settings_for_a_diameter_are_the_same_to_the_network(known):
    config = Config().override(["image.scale=0.5", "likelihood.sigma=8", *known])
    learned = 30 if known else 32  # a run from before there were diameters tells it by sigma
    assert config.cell_diameter == learned
    other = config.for_diameter(2.5 * learned)
    assert other.cell_diameter == 2.5 * learned
    assert (other.image.scale, other.likelihood.sigma) == pytest.approx((0.2, 20))
    for name in ("network_sigma", "cell_reach", "region_radius"):
        assert getattr(other, name) == pytest.approx(getattr(config, name))
    back = other.for_diameter(learned)
    assert (back.image.scale, back.likelihood.sigma) == pytest.approx((0.5, 8))
    assert dataclasses.replace(other, image=config.image, likelihood=config.likelihood) == config


@pytest.mark.parametrize("diameter", [0, -3, float("nan"), float("inf")])
def test_a_diameter_that_is_no_length_is_refused(diameter):
    with pytest.raises(UserError, match="the diameter of the cells must be above 0 and finite"):
        preset("reference").for_diameter(diameter)


def test_settings_without_any_size_have_none_for_a_diameter():
    with pytest.raises(UserError, match=r"likelihood\.sigma must be a number; take the config of a trained run"):
        Config().for_diameter(30)


def test_every_number_has_bounds_and_keeps_them():
    for section in dataclasses.fields(Config()):
        values = getattr(Config(), section.name)
        for one in dataclasses.fields(values):
            default = getattr(values, one.name)
            assert bool(one.metadata) == (default is None or type(default) in (int, float)) or one.name in (
                "channels",
                "views",
                "edge",
                "start",
            )
            if one.metadata:
                path, most = f"{section.name}.{one.name}", one.metadata["most"]
                beyond = 2 * int(most) if isinstance(default, int) or one.name == "chunk" else 2.0 * most
                with pytest.raises(UserError, match=re.escape(f"{path} must be at most {most:,}, not ")):
                    Config.from_dict({section.name: {one.name: beyond}})
                below = "above 0" if one.metadata.get("above_zero") else f"at least {one.metadata['least']}"
                with pytest.raises(UserError, match=rf"{path} must be {below}, not -1"):
                    Config.from_dict({section.name: {one.name: -1}})


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_can_be_assigned_what_it_holds(name):
    tree = preset(name).to_dict()
    assignments = [
        f"{section}.{key}={json.dumps(value)}" for section, keys in tree.items() for key, value in keys.items()
    ]
    assert Config().override(assignments) == preset(name)


@pytest.mark.parametrize(
    ("assignment", "section", "key", "value"),
    [
        ("train.steps=12", "train", "steps", 12),
        ("cut.fill_others=true", "cut", "fill_others", True),
        ("train.learning_rate=3e-4", "train", "learning_rate", 3e-4),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("unet.encoder=[8, 16]", "unet", "encoder", (8, 16)),
        ("likelihood.sigma=6", "likelihood", "sigma", 6.0),
        ("likelihood.sigma=6.5", "likelihood", "sigma", 6.5),
        ("cut.reach=null", "cut", "reach", None),
        ("detect.views=1", "detect", "views", 1),
        ("contribution.start=one", "contribution", "start", "one"),
        ('contribution.start="one"', "contribution", "start", "one"),
        (" contribution.start = one ", "contribution", "start", "one"),
    ],
)
def test_one_assignment_changes_one_setting_of_the_right_type(assignment, section, key, value):
    expected = Config().to_dict()
    expected[section][key] = value
    config = Config().override([assignment])
    assert config == Config.from_dict(expected)
    assert getattr(getattr(config, section), key) == value
    assert type(getattr(getattr(config, section), key)) is type(value)


def test_assignments_apply_in_order_and_leave_the_original():
    config = Config()
    assert config.override(["train.seed=1", "train.batch=2", "train.seed=3"]).train == TrainConfig(seed=3, batch=2)
    assert config == Config()


@pytest.mark.parametrize("text", ["train.steps", "steps=5", "train.steps 5", "=", ""])
def test_text_that_is_no_assignment(text):
    with pytest.raises(UserError, match=rf"'{text}' is not a setting with its value; write section\.key=value"):
        Config().override([text])


def test_unknown_names_are_told_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown section 'trian'.* known are image, likelihood, unet, train,"):
        Config().override(["trian.steps=5"])
    with pytest.raises(UserError, match=r"unknown key 'step' in .*; section train has steps, batch,"):
        Config().override(["train.step=5"])
    with pytest.raises(UserError, match="unknown section 'trian'; known are image,"):
        Config.from_dict({"trian": {}})
    with pytest.raises(UserError, match=r"unknown key 'train\.step'; section train has steps,"):
        Config.from_dict({"train": {"step": 5}})


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("train.steps=1.5", r"train\.steps must be int, not 1\.5"),
        ("train.steps=many", r"train\.steps must be int, not 'many'"),
        ("train.steps=true", r"train\.steps must be int, not True"),
        ("train.steps=null", r"train\.steps must be int, not None"),
        ("cut.fill_others=1", r"cut\.fill_others must be bool, not 1"),
        ("train.learning_rate=fast", r"train\.learning_rate must be float, not 'fast'"),
        ("train.learning_rate=true", r"train\.learning_rate must be float, not True"),
        ("likelihood.sigma=wide", r"likelihood\.sigma must be float, not 'wide'"),
        ("unet.encoder=8", r"unet\.encoder must be a list of int, as in \[16, 32\], not 8"),
        ("unet.encoder=[]", r"unet\.encoder must be a list of int"),
        ("unet.encoder=[8, 1.5]", r"unet\.encoder must be a list of int"),
        ("contribution.start=two", r"contribution\.start must be one of one, likelihood, not 'two'"),
        ("contribution.start=1", r"contribution\.start must be one of one, likelihood, not 1"),
        ("detect.views=2", r"detect\.views must be one of 1, 4, not 2"),
        ("detect.views=true", r"detect\.views must be one of 1, 4, not True"),
        ("cut.rim=grey", r"cut\.rim must be one of auto, bright, dark, not 'grey'"),
        ("contribution.start=[1]", r"contribution\.start must be one of one, likelihood, not \[1\]"),
    ],
)
def test_wrong_types_are_told_with_the_right_one(assignment, sentence):
    with pytest.raises(UserError, match=sentence):
        Config().override([assignment])


def test_a_section_must_be_a_dictionary():
    with pytest.raises(UserError, match="section train must hold key-value pairs, not 5"):
        Config.from_dict({"train": 5})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_what_a_trained_model_was_made_with(name):
    base = dataclasses.replace(
        preset("reference" if name != "reference" else "paper"),
        image=ImageConfig(low=5.0),
        unet=UNetConfig((3, 4), (3,)),
        train=TrainConfig(seed=9),
    )
    config = preset(name, base)
    assert (config.image, config.likelihood) == (base.image, base.likelihood)
    assert (config.unet, config.train) == (base.unet, base.train)
    chosen = preset(name)
    assert (config.detect, config.contribution, config.cut) == (chosen.detect, chosen.contribution, chosen.cut)
    assert config.cut != base.cut


@pytest.mark.parametrize("name", PRESETS)
def test_the_small_network_is_smaller_and_all_else_is_kept(name):
    base = preset(name)
    small = small_network(base)
    assert len(small.unet.encoder) == len(base.unet.encoder)
    assert len(small.unet.decoder) == len(small.unet.encoder) - 1
    for part in ("encoder", "decoder"):
        assert all(a < b for a, b in zip(getattr(small.unet, part), getattr(base.unet, part), strict=True))
    assert small.train.patch < base.train.patch
    assert small.train.batch * small.train.steps < base.train.batch * base.train.steps
    unet = dataclasses.replace(small.unet, encoder=base.unet.encoder, decoder=base.unet.decoder)
    size = {key: getattr(base.train, key) for key in ("batch", "patch", "steps", "learning_rate")}
    assert dataclasses.replace(small, unet=unet, train=dataclasses.replace(small.train, **size)) == base


@pytest.mark.parametrize("name", ["paper", "reference"])
def test_what_paper_and_code_do_not_have_is_off_in_their_presets(name):
    chosen = preset(name)
    assert chosen.detect.views == 1
    assert (chosen.cut.claim_weight, chosen.cut.background_weight) == (0, 0)
    assert (chosen.cut.rim, chosen.cut.reach) == ("bright", None)


def test_unknown_preset():
    with pytest.raises(UserError, match="unknown preset 'papr'; known are default, paper, reference"):
        inspect.unwrap(preset)("papr")  # as users call it: without the type checks of the tests


@pytest.mark.parametrize(("trained", "used"), [("levels", "levels"), ("inverse", "inverse"), ("mine", "auto")])
def test_the_default_preset_keeps_the_data_term_that_a_training_chose(trained, used):
    base = Config().override([f"cut.data={trained}", "cut.edge_weight=3"])
    assert preset("default", base).cut == dataclasses.replace(Config().cut, data=used)
    assert preset("paper", base).cut == preset("paper").cut  # which leaves nothing open
