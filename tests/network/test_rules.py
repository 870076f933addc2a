"""The ReLUs: their backward rules, and that forward they are all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsis_jax.network.rules import ACTIVATIONS, deconvnet_relu, guided_relu


# Columns: input f, signal R, and the signal behind the ReLU. Eq. 2-3: R · [f > 0] · [R > 0].
@pytest.mark.parametrize(
    ("relu", "table"),
    [
        (
            guided_relu,
            [(-2, -3, 0), (-2, 0, 0), (-2, 5, 0), (0, -3, 0), (0, 5, 0), (7, -3, 0), (7, 0, 0), (7, 5, 5)],
        ),
        (
            deconvnet_relu,
            [(-2, -3, 0), (-2, 0, 0), (-2, 5, 5), (0, -3, 0), (0, 5, 5), (7, -3, 0), (7, 0, 0), (7, 5, 5)],
        ),
        (
            ACTIVATIONS["gradient"],
            [(-2, -3, 0), (-2, 0, 0), (-2, 5, 0), (0, -3, 0), (0, 5, 0), (7, -3, -3), (7, 0, 0), (7, 5, 5)],
        ),
    ],
    ids=["guided", "deconvnet", "gradient"],
)
def test_truth_table_of_the_backward_rule(relu, table):
    x, signal, expected = jnp.array(table, jnp.float32).T
    _, pullback = jax.vjp(relu, x)
    np.testing.assert_array_equal(pullback(signal)[0], expected)


@pytest.mark.parametrize("relu", [guided_relu, deconvnet_relu])
def test_forward_is_the_relu(relu):
    x = jnp.array([-jnp.inf, -2, -1e-30, -0.0, 0, 1e-30, 3, jnp.inf])
    expected = [0, 0, 0, 0, 0, 1e-30, 3, np.inf]
    np.testing.assert_array_equal(relu(x), np.array(expected, np.float32))
    np.testing.assert_array_equal(jax.vjp(relu, x)[0], np.array(expected, np.float32))
