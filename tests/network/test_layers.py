"""The layers with backward rules of their own: their numbers are Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsis_jax.network.layers import BatchNorm, _kernel_gradient, _kernel_gradient_swapped, convolve, max_pool


def slow_max_pool(x):
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def slow_convolve(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def pull_back(function, signal, *arguments):
    """The value of a function and what its backward pass makes of a signal, compiled."""

    def both(signal, *arguments):
        value, back = jax.vjp(function, *arguments)
        return value, back(signal)

    return jax.jit(both)(signal, *arguments)


def assert_close(ours, slow, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, slow)


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 2, 2, 1)])
def test_max_pooling_is_that_of_flax_and_the_first_of_equals_wins(shape):
    batch, height, width, channels = shape
    x = jnp.round(normal(*shape))  # many equals
    signal = normal(batch, height // 2, width // 2, channels, seed=1)
    assert_close(pull_back(max_pool, signal, x), pull_back(slow_max_pool, signal, x), 0)


def test_the_signal_of_a_constant_goes_to_the_top_left():
    (to_input,) = pull_back(max_pool, jnp.ones((1, 2, 2, 1)), jnp.zeros((1, 4, 4, 1)))[1]
    np.testing.assert_array_equal(to_input[0, :, :, 0], np.tile([[1, 0], [0, 0]], (2, 2)))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 4), (3, 3), (6, 2)])
def test_convolution_is_that_of_lax(inputs, outputs):
    x, kernel = normal(2, 6, 5, inputs), normal(3, 3, inputs, outputs, seed=1)
    signal = normal(2, 6, 5, outputs, seed=2)
    assert_close(pull_back(convolve, signal, x, kernel), pull_back(slow_convolve, signal, x, kernel))


def test_both_kernel_gradients_are_the_same():
    x, signal = normal(2, 6, 5, 3), normal(2, 6, 5, 4, seed=1)
    assert_close(_kernel_gradient_swapped(x, signal), _kernel_gradient(x, signal))


@pytest.mark.parametrize("layer", ["max_pool", "convolve"])
def test_backward_passes_can_be_vmapped(layer):
    kernel = normal(3, 3, 4, 2, seed=2)
    ours, slow = {
        "max_pool": (max_pool, slow_max_pool),
        "convolve": (lambda x: convolve(x, kernel), lambda x: slow_convolve(x, kernel)),
    }[layer]
    x = normal(1, 4, 6, 4)
    signals = normal(5, *jax.eval_shape(ours, x).shape, seed=1)

    @jax.jit
    def back(x, signals):
        return [jax.vmap(jax.vjp(function, x)[1])(signals)[0] for function in (ours, slow)]

    assert_close(*back(x, signals))


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_that_of_flax(train):
    x, signal = 3 * normal(4, 6, 5, 3) + 2, normal(4, 6, 5, 3, seed=1)
    slow = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    variables = {
        "params": {"scale": jnp.array([1.0, -2, 0.5]), "bias": jnp.array([0.0, 1, -1])},
        "batch_stats": {"mean": jnp.array([0.5, 1, 2]), "var": jnp.array([1.0, 2, 0.5])},
    }

    def ours_of(params, x):
        return BatchNorm().apply(variables | {"params": params}, x, train=train, mutable=["batch_stats"])

    def slow_of(params, x):
        return slow.apply(variables | {"params": params}, x, mutable=["batch_stats"])

    results = []
    for function in (ours_of, slow_of):
        value, back, updated = jax.vjp(function, variables["params"], x, has_aux=True)
        results.append((value, back(signal), dict(updated)))
    assert jax.tree.map(jnp.shape, results[0]) == jax.tree.map(jnp.shape, results[1])
    assert_close(*results)


def test_fresh_batch_norm_is_that_of_flax(key):
    x = normal(2, 4, 4, 3)
    ours = BatchNorm().init(key, x, train=True)
    slow = nn.BatchNorm(use_running_average=False).init(key, x)
    assert_close(dict(ours), dict(slow), 0)
