"""The ReLUs: their backward rules, and that forward they are all the same."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsis_jax import network
from wsis_jax.network import rules
from wsis_jax.network.rules import RULES, BackwardRule, guided_relu, relu_of, rule_of

deconvnet_relu = relu_of(RULES["deconvnet"])


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
            relu_of(RULES["gradient"]),
            [(-2, -3, 0), (-2, 0, 0), (-2, 5, 0), (0, -3, 0), (0, 5, 0), (7, -3, -3), (7, 0, 0), (7, 5, 5)],
        ),
        (
            relu_of(BackwardRule("linear", masks_by_input=False, clips_signal=False)),
            [(-2, -3, -3), (-2, 0, 0), (-2, 5, 5), (0, -3, -3), (0, 5, 5), (7, -3, -3), (7, 0, 0), (7, 5, 5)],
        ),
    ],
    ids=["guided", "deconvnet", "gradient", "linear"],
)
def test_truth_table_of_the_backward_rule(relu, table):
    x, signal, expected = jnp.array(table, jnp.float32).T
    _, pullback = jax.vjp(relu, x)
    np.testing.assert_array_equal(pullback(signal)[0], expected)


@pytest.mark.parametrize("relu", [relu_of(rule) for rule in RULES.values()])
def test_forward_is_the_relu(relu):
    x = jnp.array([-jnp.inf, -2, -1e-30, -0.0, 0, 1e-30, 3, jnp.inf])
    expected = [0, 0, 0, 0, 0, 1e-30, 3, np.inf]
    np.testing.assert_array_equal(relu(x), np.array(expected, np.float32))
    np.testing.assert_array_equal(jax.vjp(relu, x)[0], np.array(expected, np.float32))


def test_an_unknown_rule_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match=r"rule must be one of guided, gradient, deconvnet, not 'guide'$"):
        rule_of("guide")


def test_the_rules_of_the_docstring_work(monkeypatch, tiny_run):
    monkeypatch.setattr(rules, "RULES", dict(RULES))
    monkeypatch.setattr(network, "RULES", rules.RULES, raising=False)
    lines = [line for line in rules.__doc__.splitlines() if line.startswith("    ") or not line]
    example = textwrap.dedent("\n".join(lines)).strip()
    assert len(example.splitlines()) <= 15
    exec(example, found := {})
    image = jnp.asarray(tiny_run.scenes[0].image)
    peak = np.round(tiny_run.scenes[0].points[:1]).astype(np.int32)
    regions = jnp.zeros(image.shape, jnp.int32).at[tuple(peak[0])].set(1)
    cells = image, regions, jnp.asarray(peak)
    passed = found["maps_by"]("open", tiny_run.model, *cells, reach=9.0)
    gradient = found["maps_by"]("gradient", tiny_run.model, *cells, reach=9.0)
    product = found["gradient_times_input"](tiny_run.model, *cells, reach=9.0)
    np.testing.assert_array_equal(product, gradient * image[None])
    assert float(gradient.max()) > 0
    assert float(passed.max()) > 0
    assert not np.array_equal(passed, gradient)
