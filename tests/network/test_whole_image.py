"""Passes through the whole image: their precision, what the rule keeps, and that programs are traced once."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.torch_reference import reference_network
from tests.network.golden_cells import IMAGE, MODEL, REGIONS, VARIABLES, maps_of, model_of, varied, winner_of
from wsis_jax.core.config import Config
from wsis_jax.network import whole_image
from wsis_jax.network.model import Model
from wsis_jax.network.rules import relu_of
from wsis_jax.network.whole_image import linearize


@pytest.mark.parametrize(("precision", "name"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_passes_through_the_whole_image_compute_in_the_precision_of_the_model(precision, name):
    model = Model.of(MODEL, VARIABLES, Config().override([f"unet.precision={precision}"]))
    program = jax.make_jaxpr(lambda image: linearize(model, image).signal)(jnp.asarray(IMAGE, jnp.float32))
    convolutions = re.findall(r":(\w+)\[[\d,]*\] = conv_general_dilated", str(program))
    assert len(convolutions) > 4
    assert set(convolutions) == {name}
    assert program.out_avals[0].dtype == jnp.float32


def test_guided_propagation_is_homogeneous_but_not_additive():
    pullback, signal = linearize(model_of(MODEL, VARIABLES), IMAGE)
    back = jax.jit(lambda signal: pullback(signal)[0])
    one, two = (jnp.where(cell == REGIONS, signal, 0) for cell in (2, 3))
    np.testing.assert_allclose(back(3.7 * one), 3.7 * back(one), rtol=1e-5, atol=1e-7)
    assert np.abs(back(one + two) - back(one) - back(two)).max() > 0.01 * np.abs(back(one)).max()


def test_nothing_is_traced_twice(monkeypatch):
    traces = {"forward": 0, "backward": 0}
    back = whole_image.back_one

    @cache
    def counting_relu_of(rule):
        def counting_relu(x):
            traces["forward"] += 1
            return relu_of(rule)(x)

        return counting_relu

    def counting_back(*arguments):
        traces["backward"] += 1
        return back(*arguments)

    monkeypatch.setattr(whole_image, "relu_of", counting_relu_of)
    monkeypatch.setattr(whole_image, "back_one", counting_back)
    regions = np.arange(8 * 12).reshape(8, 12) // 10  # nine cells; a size that no other test uses
    for seed, cells in enumerate((9, 5, 7)):
        model, _ = reference_network(align_corners=False)
        image = np.random.default_rng(seed).random((8, 12))
        maps_of(model, varied(seed), image, regions, cells=cells, chunk=4, method="vmap")
        winner_of(model, varied(seed), image, regions, cells=cells, chunk=4, method="vmap")
    assert traces == {"forward": 10, "backward": 1}  # the network has ten ReLUs
