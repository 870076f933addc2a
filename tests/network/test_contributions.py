"""Contribution maps: PyTorch's numbers, cells by themselves, the winner map."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.golden.torch_reference import load_reference, reference_network
from wsis_jax.core.config import Config, ContributionConfig
from wsis_jax.network import contributions as guided
from wsis_jax.network.contributions import Cells, contribution_maps, linearize, winner_map_in_chunks
from wsis_jax.network.model import Model
from wsis_jax.network.receptive_field import Span
from wsis_jax.network.rules import relu_of
from wsis_jax.network.unet import UNet

REFERENCE = load_reference()
IMAGE, REGIONS = REFERENCE["image"], REFERENCE["regions"]
MODEL, VARIABLES = reference_network(align_corners=False)


def varied(seed):
    """The variables of the network, every one of them changed by up to a half: signals still come through."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x * random.uniform(0.5, 1.5, x.shape).astype(np.float32), VARIABLES)


def scatter_regions(cells, seed):
    """Regions of at most 3 × 3 pixels anywhere; a later one may leave nothing of an earlier one."""
    random = np.random.default_rng(seed)
    regions = np.zeros(IMAGE.shape, np.int32)
    for cell in range(1, cells + 1):
        row, column = random.integers(IMAGE.shape)
        regions[row : row + 3, column : column + 3] = cell
    return regions


def peaks_of(regions, cells):
    """A peak in every region; the corner for a cell that has none."""
    places = [np.argwhere(regions == cell) for cell in range(1, cells + 1)]
    peaks = [place[len(place) // 2] if len(place) else (0, 0) for place in places]
    return np.array(peaks, np.int64).reshape(-1, 2)


def model_of(network, variables, **settings):
    """A model with settings of contributions."""
    return Model.of(network, variables, Config(contribution=ContributionConfig(**settings)))


def maps_of(network, variables, image, regions, *, cells, reach=None, **settings):
    """Contribution maps of cells that are known by their regions."""
    known = Cells(image, regions, peaks_of(regions, cells), reach=reach)
    return contribution_maps(model_of(network, variables, **settings), known)


def winner_of(network, variables, image, regions, *, cells, reach=None, **settings):
    """The winner map of the same."""
    known = Cells(image, regions, peaks_of(regions, cells), reach=reach)
    return winner_map_in_chunks(model_of(network, variables, **settings), known)


def brute_force_winner(maps):
    """Value, owner and runner-up of maps, pixel by pixel."""
    value, owner, runner_up = np.zeros((3, *maps.shape[1:]))
    for pixel in np.ndindex(maps.shape[1:]):
        contributions = list(maps[(slice(None), *pixel)])
        if contributions and max(contributions) > 0:
            value[pixel] = max(contributions)
            owner[pixel] = contributions.index(max(contributions)) + 1
            runner_up[pixel] = sorted(contributions)[-2] if len(contributions) > 1 else 0
    return value, owner, runner_up


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
@example(0, 5, 2)  # cells are no multiple of the chunk
@example(0, 3, 8)  # the chunk is greater than the cells
def test_vmap_equals_loop_whatever_the_chunk(seed, cells, chunk):
    variables, regions = varied(seed), scatter_regions(cells, seed)
    image = np.random.default_rng(seed).random(IMAGE.shape)
    looped = maps_of(MODEL, variables, image, regions, cells=cells, method="loop")
    mapped = maps_of(MODEL, variables, image, regions, cells=cells, method="vmap", chunk=chunk)
    assert looped.shape == (cells, *IMAGE.shape)
    np.testing.assert_allclose(mapped, looped, rtol=0, atol=1e-6 * max(looped.max(), 1e-30))


@pytest.mark.parametrize(("precision", "name"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_passes_through_the_whole_image_compute_in_the_precision_of_the_model(precision, name):
    model = Model.of(MODEL, VARIABLES, Config().override([f"unet.precision={precision}"]))
    program = jax.make_jaxpr(lambda image: linearize(model, image).signal)(jnp.asarray(IMAGE, jnp.float32))
    convolutions = re.findall(r":(\w+)\[[\d,]*\] = conv_general_dilated", str(program))
    assert len(convolutions) > 4
    assert set(convolutions) == {name}
    assert program.out_avals[0].dtype == jnp.float32


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
    with pytest.raises(ValueError, match="no multiples of 4; pad them with pad_to_stride"):
        maps_of(MODEL, VARIABLES, IMAGE[:-1], REGIONS[:-1], cells=4)


def test_guided_propagation_is_homogeneous_but_not_additive():
    pullback, signal = linearize(model_of(MODEL, VARIABLES), IMAGE)
    back = jax.jit(lambda signal: pullback(signal)[0])
    one, two = (jnp.where(cell == REGIONS, signal, 0) for cell in (2, 3))
    np.testing.assert_allclose(back(3.7 * one), 3.7 * back(one), rtol=1e-5, atol=1e-7)
    assert np.abs(back(one + two) - back(one) - back(two)).max() > 0.01 * np.abs(back(one)).max()


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


def test_nothing_is_traced_twice(monkeypatch):
    traces = {"forward": 0, "backward": 0}
    back = guided.back_one

    @cache
    def counting_relu_of(rule):
        def counting_relu(x):
            traces["forward"] += 1
            return relu_of(rule)(x)

        return counting_relu

    def counting_back(*arguments):
        traces["backward"] += 1
        return back(*arguments)

    monkeypatch.setattr(guided, "relu_of", counting_relu_of)
    monkeypatch.setattr(guided, "back_one", counting_back)
    regions = np.arange(8 * 12).reshape(8, 12) // 10  # nine cells; a size that no other test uses
    for seed, cells in enumerate((9, 5, 7)):
        model, _ = reference_network(align_corners=False)
        image = np.random.default_rng(seed).random((8, 12))
        maps_of(model, varied(seed), image, regions, cells=cells, chunk=4, method="vmap")
        winner_of(model, varied(seed), image, regions, cells=cells, chunk=4, method="vmap")
    assert traces == {"forward": 10, "backward": 1}  # the network has ten ReLUs


# Winner map


@settings(deadline=None, max_examples=10, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from(["window", "vmap", "loop"]),
)
def test_the_winner_map_is_the_argmax_of_the_contribution_maps(seed, cells, chunk, method):
    arguments = MODEL, varied(seed), np.random.default_rng(seed).random(IMAGE.shape), scatter_regions(cells, seed)
    winner = winner_of(*arguments, cells=cells, chunk=chunk, method=method)
    maps = maps_of(*arguments, cells=cells, chunk=chunk, method=method)
    for part, expected in zip(winner, brute_force_winner(maps), strict=True):
        np.testing.assert_array_equal(part, expected)


def small_maps(cells):
    """Contribution maps of few different values, so that many are equal, and where their corners are."""
    maps = npst.arrays(np.float32, (cells, 3, 4), elements=st.integers(0, 3).map(float))
    return st.tuples(maps, npst.arrays(np.int32, (cells, 2), elements=st.integers(0, 2)))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7).flatmap(small_maps))
def test_the_first_of_equals_wins_in_its_window(maps_and_corners):
    maps, corners = maps_and_corners
    ids = np.arange(1, len(maps) + 1, dtype=np.int32)
    merged = jax.jit(partial(guided._merged, span=Span(0, 3), reach=None))
    winner = guided._winner_of(*merged(guided._no_winner((5, 6), None), maps, corners, ids))
    seen = np.zeros((len(maps), 5, 6), np.float32)
    for cell, (row, column) in enumerate(corners):
        seen[cell, row : row + 3, column : column + 4] = maps[cell]
    for part, expected in zip(winner, brute_force_winner(seen), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("side", [64, 1024])
def test_merging_copies_no_layer_of_the_image(side):
    """Otherwise a cell costs more in a larger image: 10 ms instead of 0.3 ms for 8 cells at 2048²."""
    span = Span(-8, 8)
    layers = jax.eval_shape(partial(guided._no_winner, (side, side), span))
    maps = jax.ShapeDtypeStruct((4, span.size, span.size), np.float32)
    peaks, ids = jax.ShapeDtypeStruct((4, 2), np.int32), jax.ShapeDtypeStruct((4,), np.int32)
    merge = guided._merged_compiled.lower(layers, maps, peaks, ids, span=span, reach=None).compile()
    assert merge.memory_analysis().temp_size_in_bytes < 16 * span.size**2 * 4


def test_types_of_the_winner_map():
    winner = winner_of(MODEL, VARIABLES, IMAGE, REGIONS, cells=4)
    assert [part.dtype for part in winner] == [np.float32, np.int32, np.float32]
    assert set(np.unique(winner.owner)) == {0, 1, 2, 3, 4}
    assert (winner.value >= winner.runner_up).all()
    assert (winner.runner_up > 0).any()
