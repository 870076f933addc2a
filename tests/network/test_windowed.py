"""Windowed contributions: the numbers of the loop over whole images, in every corner."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wsis_jax.core.config import Config, ContributionConfig, ImageConfig
from wsis_jax.network import chunks, winners
from wsis_jax.network.chunks import (
    Cells,
    compiled_winner,
    contribution_maps,
    record_images,
    winner_map_in_chunks,
)
from wsis_jax.network.contributions import affordable, contributions
from wsis_jax.network.model import Model
from wsis_jax.network.rules import RULES, BackwardRule
from wsis_jax.network.unet import UNet, initial_variables
from wsis_jax.network.whole_image import linearize
from wsis_jax.network.windowed import compiled_back
from wsis_jax.network.winners import winner_map
from wsis_jax.points.likelihood import centre_regions

# Few, since every shape compiles: widths that are not multiples of eight, depths from one level to four.
NETWORKS = {
    "one level": UNet((5,), ()),
    "two levels": UNet((4, 9), (6,)),
    "three levels": UNet((4, 6, 8), (6, 4)),
    "four levels": UNet((8, 4, 4, 8), (4, 4, 8)),
    "aligned corners": UNet((4, 6, 8), (6, 4), align_corners=True),
    "three channels": UNet((4, 6, 8), (6, 4), inputs=3),
    "two channels": UNet((4, 9), (6,), inputs=2),
    "rounded": UNet((4, 10), (6,)),  # one test changes its programs, so that no other test may take it
}


CHANNELS = {1: "grey", 2: (0, 1), 3: "colours"}


def model_of(name, seed, *args, **settings):
    """A model with numbers of its own, and with settings of contributions."""
    network = NETWORKS[name]
    random = np.random.default_rng(seed)

    def vary(x):
        factor = random.uniform(0.5, 1.5, x.shape)
        return (x * factor + 0.05 * random.standard_normal(x.shape) * (x.ndim == 1)).astype(np.float32)

    variables = initial_variables(network, seed)
    params = jax.tree.map(vary, variables["params"])
    params["output"]["kernel"] = np.abs(params["output"]["kernel"])  # signals get through
    look = ImageConfig(channels=CHANNELS[network.inputs])
    config = Config(image=look, contribution=ContributionConfig(*args, **settings))
    return Model.of(network, {**variables, "params": params}, config)


def by_both(name, seed, cells, function=contribution_maps, **settings):
    """What a function of cells gives by windows, and by the loop."""
    return (function(model_of(name, seed, method, **settings), cells) for method in ("window", "loop"))


def scene(shape, cells, seed, inputs=1):
    """An image, regions that overlap windows of one another, and peaks: corners and borders first."""
    random = np.random.default_rng(seed)
    high = np.array(shape) - 1
    edges = np.array([[0, 0], high, [0, high[1]], [high[0], 0], [high[0] // 2, 0], [0, high[1] // 2]])
    peaks = np.concatenate([edges, random.integers(0, high + 1, (max(cells - len(edges), 0), 2))])[:cells]
    peaks = np.unique(peaks, axis=0)
    image = random.random(shape if inputs == 1 else (*shape, inputs), np.float32)
    plane = np.ones(shape, np.float32)
    regions = centre_regions(plane, peaks, region="disc", radius=float(random.uniform(1, 5)), response=0.1)
    return image, regions, peaks


def small_cells(model, *assignments):
    """A model whose settings are for small cells."""
    few = ["image.scale=1", "likelihood.sigma=2", "detect.radius=2.5"]
    return model.using(model.config.override([*few, *assignments]))


def two_scenes(model):
    """Two images of equally many cells, whose regions are as the settings of a model have them."""
    drawn = [scene((64, 48), 9, seed) for seed in (5, 6)]
    count, radius = min(len(peaks) for *_, peaks in drawn), model.config.region_radius
    for image, _, peaks in drawn:
        peaks = peaks[:count].astype(np.int32)
        regions = centre_regions(image, peaks, region="disc", radius=radius, response=0.1)
        yield image, regions.astype(np.int32), peaks


def assert_close(window, loop):
    """Equal within 1e-5 of each map's maximum; the ceiling is there for maps of zeros."""
    scale = np.abs(loop).max(axis=(-2, -1), keepdims=True)
    assert (np.abs(window - loop) <= 1e-5 * np.maximum(scale, 1e-12)).all()


# Few programs, each with many cells: nearly every two of a network, sides, a reach and a rule come together.
@pytest.mark.parametrize(
    ("name", "shape", "reach", "rule"),
    [
        ("one level", (64, 48), None, "deconvnet"),
        ("two levels", (16, 88), 7.5, "guided"),
        ("three levels", (16, 88), 20.0, "deconvnet"),  # the reach is beyond the image
        ("three levels", (64, 48), None, "gradient"),
        ("four levels", (64, 48), None, "guided"),
        ("four levels", (16, 88), 7.5, "gradient"),
        ("aligned corners", (64, 48), 7.5, "deconvnet"),
        ("aligned corners", (16, 88), 20.0, "guided"),
        ("three channels", (64, 48), None, "guided"),
        ("three channels", (16, 88), 7.5, "gradient"),
        ("two channels", (16, 88), 20.0, "deconvnet"),
    ],
)
@settings(deadline=None, max_examples=3, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 10), st.integers(0, 2**20))
@example(10, 0)
def test_windows_give_the_numbers_of_the_loop(name, shape, reach, rule, cells, seed):
    drawn = Cells(*scene(shape, cells, seed, NETWORKS[name].inputs), reach=reach)
    windowed, looped = by_both(name, seed, drawn, rule=rule)
    assert looped.any() or cells < 3
    assert_close(windowed, looped)


@pytest.mark.parametrize("method", ["window", "loop"])
def test_a_pixel_contributes_what_is_positive_of_each_of_its_channels(method):
    """The slow way: the gradient of each cell's region by automatic differentiation, unit by unit of the input."""
    model = model_of("three channels", 3, method, rule="gradient", start="one", start_at="logit")
    image, regions, peaks = scene((16, 24), 3, 3, inputs=3)

    def total(image, cell):
        logits = model.network.apply(model.variables, image[None], method="logits")
        return jnp.where(regions == cell, logits[0, :, :, 0], 0).sum()

    maps = contribution_maps(model, Cells(image, regions, peaks))
    gradient = jax.jit(jax.grad(total))
    gradients = [gradient(jnp.asarray(image), cell) for cell in range(1, len(peaks) + 1)]
    expected = np.stack([sum(np.maximum(one[..., c], 0) for c in range(3)) for one in gradients])
    of_the_sum = np.stack([np.maximum(one.sum(-1), 0) for one in gradients])
    assert np.abs(expected - of_the_sum).max() > 0.1 * expected.max()
    assert_close(maps, expected)


def test_channels_of_equal_values_are_one_channel_whose_kernels_are_the_sum():
    """Where all kernels of the input are of one sign per feature, nothing is clamped in one channel alone."""
    several = model_of("three channels", 4)
    kernel = np.abs(several.variables["params"]["encoder_0"]["conv_0"]["kernel"])
    params = jax.tree.map(np.array, several.variables["params"])
    params["encoder_0"]["conv_0"]["kernel"] = kernel
    several = Model.of(several.network, {"params": params}, several.config)
    params = jax.tree.map(np.array, params)
    params["encoder_0"]["conv_0"]["kernel"] = kernel.sum(axis=2, keepdims=True)
    one = Model.of(several.network.clone(inputs=1), {"params": params}, Config())
    image, regions, peaks = scene((64, 48), 7, 4)
    colours = np.repeat(image[..., None], 3, axis=2)
    found = contribution_maps(several, Cells(colours, regions, peaks))
    expected = contribution_maps(one, Cells(image, regions, peaks))
    assert expected.any()
    assert_close(found, expected)


@pytest.mark.parametrize("reach", [None, 9.0])
def test_winner_maps_are_the_same_pixel_for_pixel_except_at_ties(reach):
    cells = Cells(*scene((64, 48), 9, 5), reach=reach)
    windowed, looped = by_both("four levels", 5, cells, winner_map_in_chunks)
    tolerance = 1e-5 * looped.value.max()
    clear = looped.value - looped.runner_up > tolerance
    assert clear.mean() > 0.1
    np.testing.assert_array_equal(windowed.owner[clear], looped.owner[clear])
    np.testing.assert_allclose(windowed.value, looped.value, rtol=0, atol=tolerance)
    np.testing.assert_allclose(windowed.runner_up, looped.runner_up, rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", ["window", "vmap", "loop"])
def test_a_forward_pass_that_is_done_is_not_repeated(method, monkeypatch):
    model = model_of("three levels", 4, method, rule="deconvnet", start="one")
    cells = Cells(*scene((64, 48), 7, 4))
    whole = contribution_maps(model, cells)
    if method == "window":
        records = record_images(model, cells.image[None], cells.image.shape)
        done = {"recorded": jax.tree.map(lambda x: x[0], records)}
    else:
        done = {"linear": linearize(model, cells.image)}
    for forward in ("linearize", "record_images"):
        monkeypatch.delattr(chunks, forward)
    np.testing.assert_array_equal(contribution_maps(model, cells, **done), whole)


def test_a_rule_of_ones_own(monkeypatch):
    linear = BackwardRule("linear", masks_by_input=False, clips_signal=False)
    monkeypatch.setitem(RULES, linear.name, linear)
    cells = Cells(*scene((64, 48), 9, 6), reach=20.0)
    by_method = {
        method: contribution_maps(model_of("three levels", 6, method, rule="linear"), cells)
        for method in ("window", "vmap", "loop")
    }
    assert by_method["loop"].any()
    for maps in by_method.values():
        assert_close(maps, by_method["loop"])
    guided = contribution_maps(model_of("three levels", 6, "loop"), cells)
    assert np.abs(by_method["loop"] - guided).max() > 0.01 * guided.max()


def test_a_trained_model(tiny_run):
    scene = tiny_run.scenes[0]
    peaks = np.round(scene.points).astype(int)
    image = scene.image.astype(np.float32)
    regions = centre_regions(image, peaks, region="disc", radius=7.7, response=0.1)
    for reach in (None, 9.0):
        windowed, looped = (
            contribution_maps(
                tiny_run.model.using(tiny_run.model.config.override([f"contribution.method={method}"])),
                Cells(image, regions, peaks, reach=reach),
            )
            for method in ("window", "loop")
        )
        assert looped.max(axis=(1, 2)).min() > 0
        assert_close(windowed, looped)


def test_a_larger_record_changes_nothing():
    model, cells = model_of("three levels", 3), Cells(*scene((32, 40), 8, 3))
    larger = np.pad(cells.image, ((0, 32), (0, 24)))[None]
    record = jax.tree.map(lambda x: x[0], record_images(model, larger, cells.image.shape))
    expected = contribution_maps(model, cells)
    found = contribution_maps(model, cells, recorded=record)
    assert_close(found, expected)


def test_a_region_far_from_its_peak():
    image = np.random.default_rng(4).random((32, 40), np.float32)
    regions = np.zeros(image.shape, int)
    regions[28:, 35:] = 1
    windowed, looped = by_both("three levels", 4, Cells(image, regions, np.array([[2, 3]])))
    assert looped.any()
    assert_close(windowed, looped)


def test_any_number_of_cells_is_one_program():
    model = model_of("two levels", 0)
    compiled = compiled_back()._cache_size()
    for seed, (shape, cells) in enumerate([((32, 40), 1), ((64, 48), 10), ((16, 88), 5), ((32, 40), 9)]):
        image, _, peaks = scene(shape, cells, seed)
        regions = centre_regions(image, peaks, region="disc", radius=3.0, response=0.1)
        contribution_maps(model, Cells(image, regions, peaks, reach=11.0))  # as in no other test
    assert compiled_back()._cache_size() == compiled + 1


def test_winner_maps_of_all_images_of_the_same_sides_are_one_program(monkeypatch):
    monkeypatch.setattr(chunks, "_LEAST_ROOM", 16)
    model = model_of("two levels", 0)
    compiled = compiled_winner()._cache_size()
    for seed, (shape, cells) in enumerate([((32, 40), 1), ((64, 48), 12), ((16, 40), 5)]):
        image, _, peaks = scene(shape, cells, seed)
        regions = centre_regions(image, peaks, region="disc", radius=3.0, response=0.1)
        cells = Cells(image, regions, peaks, reach=13.0)  # as in no other test
        larger = np.pad(image, ((0, 64 - shape[0]), (0, 48 - shape[1])))
        records = record_images(model, np.stack([np.zeros_like(larger), larger]), shape)
        maps, winner = (
            contribution_maps(model, cells),
            winner_map_in_chunks(model, cells, recorded=records, index=1),
        )
        np.testing.assert_allclose(winner.value, maps.max(axis=0), rtol=1e-5, atol=1e-9)
    assert compiled_winner()._cache_size() == compiled + 1


def test_there_is_room_for_more_cells(monkeypatch):
    model, cells = model_of("two levels", 0), Cells(*scene((32, 40), 9, 3), reach=12.0)
    expected = winner_map_in_chunks(model, cells)
    monkeypatch.setattr(chunks, "_LEAST_ROOM", 2)
    for found, wanted in zip(winner_map_in_chunks(model, cells), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("memory", "expected"), [(0.001, 1), (1e-9, 1), (64.0, 8)])
def test_memory_bounds_the_chunk(memory, expected):
    assert affordable(2**20, memory) == expected


def test_peaks_outside_the_image_are_refused():
    image, regions = np.zeros((32, 40), np.float32), np.zeros((32, 40), int)
    with pytest.raises(ValueError, match="peaks outside the image of 32 × 40 pixels"):
        winner_map_in_chunks(model_of("two levels", 0), Cells(image, regions, np.array([[3, 40]])))


def test_bits_are_what_the_network_did():
    model = model_of("three levels", 6)
    image = np.random.default_rng(6).random((24, 32), np.float32)
    record = record_images(model, image[None], image.shape)
    before = []

    def listen(x):
        before.append(x)
        return jax.nn.relu(x)

    listener, seen = model.network.clone(activation=listen), jnp.asarray(image)[None, :, :, None]
    logits = listener.apply(model.variables, seen, method="logits")
    np.testing.assert_allclose(record.likelihood[0], jax.nn.sigmoid(logits)[0, :, :, 0], rtol=0, atol=1e-5)
    for bits, x in zip(record.active, before, strict=True):
        np.testing.assert_array_equal(jnp.unpackbits(bits, axis=-1, count=x.shape[-1]), x > 0)
    for level in range(2):
        x = np.maximum(before[2 * level + 1][0], 0)
        height, width, n = x.shape
        blocks = x.reshape(height // 2, 2, width // 2, 2, n).transpose(0, 2, 4, 1, 3).reshape(-1, 4)
        pooled = blocks.argmax(axis=1).reshape(height // 2, width // 2, n)
        for bits, expected in ((record.lower, pooled // 2), (record.right, pooled % 2)):
            np.testing.assert_array_equal(jnp.unpackbits(bits[level][0], axis=-1, count=n), expected)


# Pure functions


@pytest.mark.parametrize("reach", [None, 10.0])
def test_pure_contributions_are_those_of_the_loop(reach):
    model = small_cells(model_of("four levels", 5))
    scenes = list(two_scenes(model))
    looped = [
        contribution_maps(small_cells(model, "contribution.method=loop"), Cells(*one, reach=reach))
        for one in scenes
    ]
    jitted = jax.jit(contributions, static_argnames="reach")
    together = jax.jit(jax.vmap(partial(contributions, model, reach=reach)))
    for maps, expected in zip(together(*map(np.stack, zip(*scenes, strict=True))), looped, strict=True):
        assert expected.any(axis=(1, 2)).all()
        assert_close(maps, expected)
    for one, expected in zip(scenes, looped, strict=True):
        maps = jitted(model, *one, reach=reach)
        assert (maps.shape, maps.dtype) == (expected.shape, np.float32)
        assert_close(maps, expected)


def argmax(maps):
    """Value, owner and runner-up of maps."""
    ordered = np.sort(maps, axis=0)[::-1]
    owner = np.where(ordered[0] > 0, np.argmax(maps, axis=0) + 1, 0)
    return ordered[0], owner, ordered[1]


@pytest.mark.parametrize(
    ("name", "reach"), [("four levels", None), ("two levels", 10.0), ("rounded", None), ("rounded", 10.0)]
)
def test_winner_maps_of_device_and_host_and_numpy_are_one(name, reach, monkeypatch):
    model, coarse = small_cells(model_of(name, 5), "contribution.chunk=4"), name == "rounded"
    scenes, half = list(two_scenes(model)), int(model.config.region_radius)
    if coarse:  # maps of few different values, so that many are equal
        back = winners.windows_back

        def rounded(*arguments, **options):
            return jax.lax.reduce_precision(back(*arguments, **options), exponent_bits=8, mantissa_bits=1)

        for module in (winners, chunks):
            monkeypatch.setattr(module, "windows_back", rounded)
    together = jax.jit(jax.vmap(partial(winner_map, model, reach=reach)))
    in_batch = together(*map(np.stack, zip(*scenes, strict=True)))
    alone = jax.jit(partial(winner_map, reach=reach))
    for i, one in enumerate(scenes):
        cells = Cells(*one, reach=reach, half=half)
        oracle = argmax(contribution_maps(model, cells))
        if coarse:
            assert ((oracle[0] == oracle[2]) & (oracle[0] > 0)).any()
        pure, driven = alone(model, *one), winner_map_in_chunks(model, cells)
        for layer, ours, batched, expected in zip(pure, driven, in_batch, oracle, strict=True):
            assert layer.dtype == ours.dtype
            np.testing.assert_array_equal(layer, expected)
            np.testing.assert_array_equal(ours, expected)
            if not coarse:  # in a batch sums are added up in another order
                np.testing.assert_allclose(batched[i], expected, rtol=0, atol=1e-5 * expected.max())


def test_pure_functions_of_no_cells():
    model = small_cells(model_of("two levels", 0))
    image, regions, peaks = jnp.zeros((32, 40)), jnp.zeros((32, 40), int), jnp.zeros((0, 2), int)
    assert contributions(model, image, regions, peaks, reach=9.0).shape == (0, 32, 40)
    for layer in winner_map(model, image, regions, peaks, reach=9.0):
        np.testing.assert_array_equal(layer, image)
