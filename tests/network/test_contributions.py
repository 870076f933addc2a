"""Contribution maps: PyTorch's numbers, and cells by themselves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.golden.torch_reference import reference_network
from tests.network.golden_cells import (
    IMAGE,
    MODEL,
    REFERENCE,
    REGIONS,
    VARIABLES,
    maps_of,
    scatter_regions,
    varied,
    winner_of,
)
from wsis_jax.network.unet import UNet

# Golden: PyTorch


@pytest.mark.parametrize(
    ("rule", "align_corners", "method"),
    [
        ("guided", False, "vmap"),
        ("guided", False, "window"),
        ("guided", True, "vmap"),
        ("guided", True, "window"),
        ("guided", True, "loop"),
        ("gradient", False, "vmap"),
        ("gradient", False, "window"),
        ("gradient", True, "loop"),
        ("deconvnet", False, "vmap"),
        ("deconvnet", False, "window"),
        ("deconvnet", True, "vmap"),
    ],
)
def test_contributions_equal_pytorch(rule, align_corners, method):
    model, variables = reference_network(align_corners=align_corners)
    maps = maps_of(model, variables, IMAGE, REGIONS, cells=4, rule=rule, method=method, start="likelihood")
    expected = REFERENCE[f"align_corners={align_corners}/{rule}"]
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * theirs.max())


@pytest.mark.parametrize("start", ["likelihood", "one"])
@pytest.mark.parametrize("start_at", ["likelihood", "logit"])
def test_the_signal_starts_as_said(start, start_at):
    maps = maps_of(MODEL, VARIABLES, IMAGE, REGIONS, cells=4, rule="gradient", start=start, start_at=start_at)
    expected = [
        np.maximum(_gradient(jnp.asarray(IMAGE), cell == REGIONS, start, start_at), 0) for cell in range(1, 5)
    ]
    np.testing.assert_allclose(maps, expected, rtol=0, atol=5e-6 * np.max(expected))


@partial(jax.jit, static_argnums=(2, 3))
def _gradient(image, region, start, start_at):
    """Gradient of the region's output, weighted by what it starts with."""

    def weighted_sum(image):
        logits = MODEL.apply(VARIABLES, image[None, :, :, None], method="logits")[0, :, :, 0]
        y = jax.nn.sigmoid(logits)
        weight = jax.lax.stop_gradient(y) if start == "likelihood" else 1
        return jnp.sum(jnp.where(region, weight * (y if start_at == "likelihood" else logits), 0))

    return jax.grad(weighted_sum)(image)


# Cells by themselves


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([1, 2, 3, 8]))
@example(0, 5, 2)  # cells are not a multiple of the chunk
@example(0, 3, 8)  # the chunk is greater than the cells
def test_vmap_equals_loop_whatever_the_chunk(seed, cells, chunk):
    variables, regions = varied(seed), scatter_regions(cells, seed)
    image = np.random.default_rng(seed).random(IMAGE.shape)
    looped = maps_of(MODEL, variables, image, regions, cells=cells, method="loop")
    mapped = maps_of(MODEL, variables, image, regions, cells=cells, method="vmap", chunk=chunk)
    assert looped.shape == (cells, *IMAGE.shape)
    np.testing.assert_allclose(mapped, looped, rtol=0, atol=1e-6 * max(looped.max(), 1e-30))


def test_a_cell_does_not_depend_on_the_others():
    together = maps_of(MODEL, VARIABLES, IMAGE, REGIONS, cells=4)
    alone = maps_of(MODEL, VARIABLES, IMAGE, (REGIONS == 3).astype(int), cells=1)
    assert alone.max() > 0
    np.testing.assert_allclose(alone[0], together[2], rtol=0, atol=1e-6 * alone.max())


def test_a_cell_without_a_region_contributes_nothing():
    regions = np.where(REGIONS == 2, 0, REGIONS)
    maps = maps_of(MODEL, VARIABLES, IMAGE, regions, cells=4)
    assert not maps[1].any()
    assert maps[[0, 2, 3]].any(axis=(1, 2)).all()
    assert 2 not in winner_of(MODEL, VARIABLES, IMAGE, regions, cells=4).owner


def test_no_cells():
    nothing = np.zeros(IMAGE.shape, np.int32)
    assert maps_of(MODEL, VARIABLES, IMAGE, nothing, cells=0).shape == (0, *IMAGE.shape)
    for part in winner_of(MODEL, VARIABLES, IMAGE, nothing, cells=0):
        assert isinstance(part, np.ndarray)
        np.testing.assert_array_equal(part, nothing)


def test_the_rule_replaces_the_activation_of_the_model():
    other = MODEL.clone(activation=jnp.tanh)
    np.testing.assert_array_equal(
        maps_of(other, VARIABLES, IMAGE, REGIONS, cells=4),
        maps_of(MODEL, VARIABLES, IMAGE, REGIONS, cells=4),
    )


def test_sides_must_be_multiples_of_the_stride():
    with pytest.raises(ValueError, match="not multiples of 4; pad them with pad_to_stride"):
        maps_of(MODEL, VARIABLES, IMAGE[:-1], REGIONS[:-1], cells=4)


def test_contributions_end_where_the_receptive_field_does():
    model, skip, radius = UNet((4, 6), (4,)), 4, 12  # 2 + 2 · (1 + 2) + 2, and what the pooling grid adds
    image = np.random.default_rng(0).random((40, 48))
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
    variables = jax.tree.map(jnp.abs, variables)  # no signal is lost
    regions = np.zeros(image.shape, np.int32)
    regions[0, 0], regions[21, 38] = 1, 2
    maps = maps_of(model, variables, image, regions, cells=2, start_at="logit")
    for cell in range(2):
        corner = np.argwhere(regions == cell + 1)[0][:, None, None]
        distance = np.abs(np.indices(image.shape) - corner).max(axis=0)
        assert maps[cell][distance <= skip].all()
        assert radius - 4 < distance[maps[cell] > 0].max() <= radius
    owner = winner_of(model, variables, image, regions, cells=2, start_at="logit").owner
    np.testing.assert_array_equal(owner > 0, maps.any(axis=0))
    assert set(np.unique(owner)) == {0, 1, 2}
