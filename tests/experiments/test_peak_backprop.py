"""The rule of peak back-propagation."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.baselines.peak_backprop import (
    normalized,
    relevance_convolution,
    relevance_winners,
    with_relevance,
)
from wsis_jax.core.types import Detection
from wsis_jax.cutting.label_cells import cut_and_fuse
from wsis_jax.network.layers import convolve, max_pool
from wsis_jax.network.model import Model
from wsis_jax.network.unet import UNet, initial_variables, predict, upsample
from wsis_jax.points.likelihood import centre_regions
from wsis_jax.synthetic import draw_scene


def slow_rule(x: np.ndarray, kernel: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """P(U) = Σ_V P(V) P(U|V), unit by unit."""
    raised, positive = x - x.min(), np.maximum(kernel, 0)
    result, (height, width, _), half = np.zeros_like(x), x.shape, kernel.shape[0] // 2
    for row, column, output in np.ndindex(probability.shape):
        shares = {}
        for i, j, unit in np.ndindex(kernel.shape[:3]):
            at = row + i - half, column + j - half
            if 0 <= at[0] < height and 0 <= at[1] < width:
                shares[*at, unit] = raised[*at, unit] * positive[i, j, unit, output]
        total = sum(shares.values())
        for place, share in shares.items():
            result[place] += probability[row, column, output] * share / total if total > 0 else 0
    return result


def as_array(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


class Plain(nn.Module):
    """Convolution, ReLU, convolution, pooling; biases too."""

    @nn.compact
    def __call__(self, x):
        for width in (6, 5):
            layer = nn.Conv(width, (3, 3), conv_general_dilated=convolve, bias_init=nn.initializers.normal(0.1))
            x = nn.relu(layer(x))
        return nn.Conv(1, (1, 1), use_bias=False)(max_pool(x))


def walk(apply, variables, images, signal):
    """The signal at the outputs, walked back to the images."""

    @jax.jit
    def back(variables, images, signal):
        return jax.vjp(partial(with_relevance(apply), variables), images)[1](signal)[0]

    return back(variables, images, signal)


def test_the_rule_is_the_formula():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(5, 4, 2)), rng.normal(size=(3, 3, 2, 3))
    probability = rng.random((5, 4, 3))
    _, pullback = jax.vjp(lambda x: relevance_convolution(x[None], as_array(kernel))[0], as_array(x))
    relevance = pullback(as_array(probability))[0]
    np.testing.assert_allclose(relevance, slow_rule(x, kernel, probability), atol=1e-5)
    np.testing.assert_allclose(relevance.sum(), probability.sum(), rtol=1e-5)


def test_images_of_a_batch_do_not_meet():
    rng = np.random.default_rng(1)
    kernel, signal = as_array(rng.normal(size=(3, 3, 2, 3))), as_array(rng.random((2, 6, 6, 3)))
    x = as_array(rng.random((2, 6, 6, 2)) - np.array([0, 5]).reshape(2, 1, 1, 1))
    both = jax.vjp(lambda x: relevance_convolution(x, kernel), x)[1](signal)[0]
    for i in (0, 1):
        alone = jax.vjp(lambda x: relevance_convolution(x, kernel), x[i : i + 1])[1](signal[i : i + 1])[0]
        np.testing.assert_allclose(both[i], alone[0], rtol=1e-5, atol=1e-6)


def test_forward_the_network_is_what_it_was(key):
    images = jax.random.uniform(key, (1, 12, 12, 1))
    model = Plain()
    variables = model.init(key, images)
    outputs = model.apply(variables, images)
    np.testing.assert_allclose(with_relevance(model.apply)(variables, images), outputs, atol=1e-6)


def test_probability_is_conserved_through_convolutions_relu_and_pooling(key):
    images = jax.random.uniform(key, (1, 16, 16, 1))
    model = Plain()
    variables = model.init(key, images)
    signals = jnp.eye(64).reshape(64, 1, 8, 8, 1)
    relevance = jax.vmap(partial(walk, model.apply, variables, images))(signals)
    assert (relevance >= 0).all()
    # All is lost only where no unit with a positive weight is active.
    kept = np.asarray(relevance.sum((1, 2, 3, 4)))
    assert np.all((np.abs(kept - 1) < 1e-4) | (kept == 0))
    assert np.mean(kept > 0) > 0.8


def test_upsampling_conserves_a_signal_but_a_relu_before_it_does_not():
    # Between an active and an inactive unit the interpolated one is active: its share to the inactive is lost.
    x = jnp.array([1.0, 0.0, 0.0, 1.0]).reshape(1, 2, 2, 1)
    signal = jnp.ones((1, 4, 4, 1))
    before = jax.vjp(lambda x: upsample(x, align_corners=False), x)[1](signal)[0]
    np.testing.assert_allclose(before.sum(), 16, rtol=1e-6)
    after = jax.vjp(lambda x: upsample(nn.relu(x), align_corners=False), x - 0.5)[1](signal)[0]
    assert after.sum() < 12


def test_a_u_net_loses_probability_and_makes_none(key):
    model = UNet((8, 8), (8,), batch_norm=False)
    variables, image = initial_variables(model, 1), jax.random.uniform(key, (1, 32, 32, 1))
    signal = jnp.full((1, 32, 32, 1), 1 / 32**2)
    relevance = walk(partial(model.apply, method="logits"), variables, image, signal)
    assert 0.9 < relevance.sum() < 0.999
    np.testing.assert_allclose(normalized(relevance, (0, 1, 2, 3)).sum(), 1, atol=1e-4)


def test_convolutions_with_strides_are_refused(key):
    model = nn.Conv(2, (3, 3), strides=2)
    images = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(ValueError, match="strides"):
        with_relevance(model.apply)(model.init(key, images), images)


@pytest.fixture(scope="module")
def drawn(tiny_config):
    """A run with a network that has not learnt, and a detection of what is true of a small scene."""
    scene = draw_scene(1, shape=(64, 64), cells=6, diameter=13.0)
    model = UNet((4, 8, 8), (8, 4), batch_norm=False)
    run = Model.of(model, initial_variables(model, 0), tiny_config)
    peaks, likelihood = np.round(scene.points).astype(np.int64), predict(model, run.variables, scene.image)
    regions = centre_regions(likelihood, peaks, region="disc", radius=6.0, response=0.1)
    return run, Detection(scene.image, likelihood, peaks, regions)


def test_the_winner_map_is_that_of_cells_walked_back_one_by_one(drawn):
    run, detection = drawn
    winner = relevance_winners(run, detection, config=run.config)
    start, maps = detection.likelihood**2 * (1 - detection.likelihood), []
    for cell in range(1, len(detection.peaks) + 1):
        signal = as_array(np.where(detection.regions == cell, start, 0))[None, :, :, None]
        image = as_array(detection.image)[None, :, :, None]
        relevance = walk(partial(run.network.apply, method="logits"), run.variables, image, signal)[0, :, :, 0]
        distance = np.hypot(*(np.indices((64, 64)) - detection.peaks[cell - 1][:, None, None]))
        maps.append(np.where(distance <= run.config.cell_reach, relevance / relevance.sum(), 0))
    best = np.max(maps, axis=0)
    np.testing.assert_allclose(winner.value, best, rtol=1e-2, atol=1e-6)
    clear = best - np.sort(maps, axis=0)[-2] > 1e-5
    assert clear.any()
    np.testing.assert_array_equal(winner.owner[clear], np.argmax(maps, axis=0)[clear] + 1)


def test_graph_cuts_follow_the_winner_map(drawn):
    run, detection = drawn
    winner = relevance_winners(run, detection, config=run.config)
    assert set(np.unique(winner.owner)) == set(range(7))
    labels = cut_and_fuse(detection.image, detection.peaks, winner, config=run.config).labels
    assert len(np.unique(labels)) > 1
