"""The trained model: one pytree, prepared once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsis_jax.core.config import Config
from wsis_jax.core.errors import UserError
from wsis_jax.network.model import Model, build_model
from wsis_jax.network.unet import UNet, fold_batch_norm, in_precision, initial_variables
from wsis_jax.network.windowed import backward_kernels

NETWORK = UNet((4, 6), (4,))
VARIABLES = initial_variables(NETWORK, 0)
ROUGH = Config().override(["unet.precision=bfloat16"])


def assert_same(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def model():
    return Model.of(NETWORK, VARIABLES, Config())


def test_a_model_is_folded_and_its_kernels_are_turned(model):
    network, variables = fold_batch_norm(NETWORK, VARIABLES)
    assert model.network == network
    assert_same(model.variables, variables)
    assert_same(model.kernels, backward_kernels(variables))
    assert_same(Model.of(network, variables, Config()), model)


def test_a_model_is_a_pytree_with_static_settings(model):
    doubled = jax.jit(lambda model: jax.tree.map(lambda leaf: 2 * leaf, model))(model)
    assert (doubled.network, doubled.config) == (model.network, model.config)
    assert_same(doubled.kernels, backward_kernels(doubled.variables))


def test_other_settings_share_what_is_prepared(model):
    assert model.using(Config()) is model
    other = model.using(Config().override(["cut.reach=3"]))
    assert other.config.cut.reach == 3
    assert other.variables is model.variables
    assert other.kernels is model.kernels


def test_settings_of_other_channels_are_refused(model):
    with pytest.raises(
        UserError, match=r"the model learned from 1 channel, but --channel .* 2 channels, 0,2; choose"
    ):
        model.using(Config().override(["image.channels=[0,2]"]))
    assert model.using(Config().override(["image.channels=[7]"])).variables is model.variables


def test_the_network_has_the_channels_of_the_settings(unchecked):
    network = build_model(Config().override(["unet.encoder=[4,6]", "unet.decoder=[4]", "image.channels=[0,2]"]))
    assert network.inputs == 2
    assert initial_variables(network, 0)["params"]["encoder_0"]["conv_0"]["kernel"].shape == (3, 3, 2, 4)
    with pytest.raises(UserError, match="the images have 1 channel, but the network sees 2"):
        network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def test_another_precision_is_that_of_the_variables(model):
    rough = model.using(ROUGH)
    assert rough.config == ROUGH
    assert_same(rough.variables, in_precision(model.variables, "bfloat16"))
    assert_same(rough, Model.of(NETWORK, VARIABLES, ROUGH))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(rough)} == {"bfloat16"}
    assert rough.using(Config()).variables["params"]["output"]["bias"].dtype == jnp.float32
