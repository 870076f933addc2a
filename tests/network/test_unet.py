"""The network: equal to PyTorch's, its shape, its upsampling and padding, its batch norm folded away."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.torch_reference import load_reference, reference_network
from wsis_jax.network import unet
from wsis_jax.network.record import record
from wsis_jax.network.rules import RULES
from wsis_jax.network.unet import (
    UNet,
    fold_batch_norm,
    in_precision,
    initial_variables,
    pad_to_stride,
    predict,
    shapes_of_variables,
    upsample,
)

SMALL = UNet((4, 6, 8), (6, 4))
REFERENCE = load_reference()


@pytest.mark.parametrize("network", [SMALL, UNet((4,), ()), UNet((3, 5), (7,), inputs=3)])
def test_shapes_are_those_of_a_fresh_network(network):
    fresh = jax.eval_shape(lambda: initial_variables(network, 0))
    assert shapes_of_variables(network) == jax.tree.map(lambda leaf: leaf.shape, fresh)


def random_like(shapes, seed=0):
    """Random numbers for variables of the given shapes, with which every batch norm does something."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name == "var":
            return random.uniform(0.5, 2, leaf.shape).astype(np.float32)
        offset = 1 if name == "scale" else 0
        width = 1 / math.sqrt(math.prod(leaf.shape[:-1])) if name == "kernel" else 0.3
        return (offset + width * random.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


# Compiled whole: operation by operation takes seconds.
@partial(jax.jit, static_argnames=("model", "method"))
def forward(model, variables, images, method="__call__"):
    return model.apply(variables, images, method=method)


@partial(jax.jit, static_argnames="align_corners")
def enlarge(x, *, align_corners):
    return upsample(x, align_corners=align_corners)


@pytest.fixture(scope="module")
def variables():
    """Variables of the small network."""
    return random_like(jax.eval_shape(SMALL.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1))))


# Golden: PyTorch


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
def test_forward_equals_pytorch(align_corners, fold):
    model, variables = reference_network(align_corners=align_corners)
    if fold:
        model, variables = fold_batch_norm(model, variables)
    likelihood = predict(model, variables, REFERENCE["image"])
    np.testing.assert_allclose(likelihood, REFERENCE[f"align_corners={align_corners}/likelihood"], atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsampling_equals_pytorch(align_corners):
    x = REFERENCE["odd"].transpose(0, 2, 3, 1)
    larger = np.asarray(enlarge(jnp.asarray(x), align_corners=align_corners)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(larger, REFERENCE[f"align_corners={align_corners}/odd"], atol=2e-6)


# Shape


def test_the_default_network_is_the_one_of_the_paper():
    shapes = jax.eval_shape(UNet().init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])) == 13_390_209
    widths = {name: part["conv_1"]["kernel"].shape for name, part in shapes["params"].items() if name != "output"}
    encoder = {f"encoder_{level}": (3, 3, n, n) for level, n in enumerate((64, 128, 256, 512, 512))}
    decoder = {f"decoder_{level}": (3, 3, n, n) for level, n in enumerate((256, 128, 64, 64))}
    assert widths == encoder | decoder
    inputs = [shapes["params"][f"decoder_{level}"]["conv_0"]["kernel"].shape[2] for level in range(4)]
    assert inputs == [512 + 512, 256 + 256, 128 + 128, 64 + 64]
    assert shapes["params"]["output"]["kernel"].shape == (1, 1, 64, 1)
    assert set(shapes["params"]["encoder_0"]) == {"conv_0", "norm_0", "conv_1", "norm_1"}
    assert set(shapes["params"]["encoder_0"]["conv_0"]) == {"kernel"}
    assert UNet().stride == 16


def test_output_has_the_shape_of_the_images_and_is_a_likelihood(variables):
    images = 5 * jax.random.normal(jax.random.key(1), (2, 16, 12, 1))
    likelihood = forward(SMALL, variables, images)
    assert likelihood.shape == (2, 16, 12, 1)
    assert likelihood.dtype == jnp.float32
    assert 0 < likelihood.min() < likelihood.max() < 1
    logits = forward(SMALL, variables, images, "logits")
    np.testing.assert_allclose(likelihood, jax.nn.sigmoid(logits))


def test_a_fresh_network_says_that_cells_are_rare():
    image, fresh = jnp.zeros((1, 8, 8, 1)), initial_variables(SMALL, 1)
    np.testing.assert_allclose(forward(SMALL, fresh, image), jax.nn.sigmoid(-2.0), rtol=1e-6)


def test_training_uses_and_updates_the_statistics_of_the_batch(variables):
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    trained, updated = jax.jit(partial(SMALL.apply, train=True, mutable=["batch_stats"]))(variables, images)
    before, after = variables["batch_stats"]["encoder_0"]["norm_0"], updated["batch_stats"]["encoder_0"]["norm_0"]
    kernel = variables["params"]["encoder_0"]["conv_0"]["kernel"]
    features = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = 0.9 * before["mean"] + 0.1 * features.mean((0, 1, 2))
    np.testing.assert_allclose(after["mean"], expected, atol=1e-6)
    assert not np.allclose(trained, forward(SMALL, variables, images), atol=1e-3)


@pytest.mark.parametrize("shape", [(10, 16), (16, 10), (1, 1)])
def test_sides_must_be_multiples_of_the_stride(variables, shape):
    sentence = f"image sides {shape[0]} × {shape[1]} are not multiples of 4; pad them with pad_to_stride"
    with pytest.raises(ValueError, match=sentence):
        SMALL.apply(variables, jnp.zeros((1, *shape, 1)))


def test_widths_must_fit_together(key):
    with pytest.raises(ValueError, match="a U-Net of 3 encoder levels needs 2 decoder widths, not 3"):
        UNet((4, 6, 8), (8, 6, 4)).init(key, jnp.zeros((1, 8, 8, 1)))


def test_a_network_of_one_level_needs_no_decoder(key):
    model = UNet((3,), ())
    assert model.stride == 1
    output, _ = jax.eval_shape(model.init_with_output, key, jnp.zeros((1, 5, 7, 1)))
    assert output.shape == (1, 5, 7, 1)


# Upsampling


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3), (6, 7)])
def test_default_upsampling_is_bilinear_resizing(shape):
    x = jax.random.normal(jax.random.key(2), (2, *shape, 3))
    resized = jax.image.resize(x, (2, 2 * shape[0], 2 * shape[1], 3), "bilinear")
    np.testing.assert_allclose(enlarge(x, align_corners=False), resized, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (4, 3)])
def test_aligned_corners_are_linear_between_the_corners(shape):
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    larger = np.asarray(enlarge(jnp.asarray(x)[None, :, :, None], align_corners=True))[0, :, :, 0]
    rows, columns = (np.linspace(0, side - 1, 2 * side) for side in shape)
    wide = np.stack([np.interp(columns, np.arange(shape[1]), row) for row in x])
    expected = np.stack([np.interp(rows, np.arange(shape[0]), column) for column in wide.T], axis=1)
    np.testing.assert_allclose(larger, expected, atol=3e-6)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_aligned_corners_need_two_corners(shape):
    with pytest.raises(ValueError, match="align_corners needs features of at least 2 × 2; use a larger image"):
        upsample(jnp.zeros((1, *shape, 2)), align_corners=True)


def test_shifts_by_the_stride_shift_the_output():
    model, margin = UNet((4, 6), (4,)), 12  # no output pixel sees farther than the margin
    variables = random_like(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2, 2, 1))))
    wide = jax.random.uniform(jax.random.key(4), (1, 46, 46, 1))
    here, by_6, by_1 = (
        forward(model, variables, wide[:, by : by + 40, by : by + 40])[0, :, :, 0] for by in (0, 6, 1)
    )
    inner = np.s_[margin + 6 : -margin, margin + 6 : -margin]
    np.testing.assert_allclose(by_6[margin : -margin - 6, margin : -margin - 6], here[inner], atol=1e-6)
    # Pooling sees the grid.
    assert np.abs(by_1[margin + 5 : -margin - 1, margin + 5 : -margin - 1] - here[inner]).max() > 1e-3


# Padding


@pytest.mark.parametrize("shape", [(8, 12), (7, 12), (9, 5), (1, 1), (3, 2)])
def test_padding_mirrors_and_the_frame_undoes_it(shape):
    image = np.random.default_rng(5).random(shape)
    padded, frame = pad_to_stride(image, 4)
    assert padded.shape == tuple(math.ceil(side / 4) * 4 for side in shape)
    np.testing.assert_array_equal(padded[frame], image)
    for axis, side in enumerate(shape):
        there_and_back = [*range(side), *reversed(range(side))]
        mirror = [there_and_back[n % (2 * side)] for n in range(padded.shape[axis])]
        np.testing.assert_array_equal(padded, np.take(padded, mirror, axis=axis))


def test_an_image_of_fitting_size_is_left_alone():
    image = np.random.default_rng(6).random((16, 32))
    padded, frame = pad_to_stride(image, 16)
    np.testing.assert_array_equal(padded, image)
    assert padded[frame].shape == image.shape


@pytest.mark.parametrize(
    ("shape", "dtype"), [((16, 12), np.float32), ((13, 10), np.float64), ((3, 5), np.float32)]
)
def test_predict_takes_any_size(variables, shape, dtype):
    image = np.random.default_rng(7).random(shape).astype(dtype)
    likelihood = predict(SMALL, variables, image)
    assert likelihood.shape == shape
    assert likelihood.dtype == np.float32
    padded, frame = pad_to_stride(image, 4)
    direct = forward(SMALL, variables, jnp.asarray(padded, jnp.float32)[None, :, :, None])
    np.testing.assert_allclose(likelihood, direct[0, *frame, 0], atol=1e-6)


# Folding


@pytest.mark.parametrize("align_corners", [False, True])
def test_folded_equals_unfolded(variables, align_corners):
    model = SMALL.clone(align_corners=align_corners)
    folded, folded_variables = fold_batch_norm(model, variables)
    assert folded == model.clone(batch_norm=False)
    shapes = jax.eval_shape(folded.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert jax.tree.map(jnp.shape, folded_variables) == jax.tree.map(jnp.shape, shapes)
    images = jax.random.uniform(jax.random.key(8), (2, 16, 24, 1))
    expected = forward(model, variables, images, "logits")
    logits = forward(folded, folded_variables, images, "logits")
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_folding_twice_changes_nothing(variables):
    model, folded = fold_batch_norm(SMALL, variables)
    again, folded_again = fold_batch_norm(model, folded)
    assert again == model
    assert folded_again is folded


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_frame_gives_what_the_network_gives_for_images_of_that_size(align_corners):
    model = SMALL.clone(align_corners=align_corners)
    image = np.random.default_rng(0).random((2, 24, 20, 1), np.float32)
    variables = initial_variables(model, 0)
    expected = jax.jit(model.apply)(variables, jnp.asarray(image))
    # What lies outside the frame must not matter.
    larger = np.random.default_rng(1).random((2, 40, 32, 1), np.float32)
    larger[:, :24, :20] = image
    found = jax.jit(model.apply)(variables, jnp.asarray(larger), frame=jnp.array([24, 20]))
    np.testing.assert_allclose(found[:, :24, :20], expected, rtol=0, atol=1e-6)


def test_variables_in_bfloat16(variables):
    rough = in_precision(variables, "bfloat16")
    for a, b in zip(jax.tree.leaves(rough), jax.tree.leaves(variables), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-7)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_maps_of_a_batch_are_those_of_a_record_and_of_its_images(variables, precision):
    rough = in_precision(variables, precision)
    images = jnp.asarray(np.random.default_rng(0).random((3, 16, 12), np.float32))
    maps = unet.forward(SMALL, rough, images)
    assert maps.shape == images.shape
    assert maps.dtype == jnp.float32
    recorded = record(SMALL, rough, images, jnp.array([16, 12]), rule=RULES["guided"]).likelihood
    np.testing.assert_allclose(maps, recorded, rtol=0, atol=1e-6)
    for image, likelihood in zip(np.asarray(images), maps, strict=True):
        np.testing.assert_allclose(predict(SMALL, rough, image), likelihood, rtol=0, atol=1e-6)


def test_maps_within_a_frame_are_those_of_the_image_alone(variables):
    image = np.random.default_rng(0).random((16, 12), np.float32)
    larger = np.random.default_rng(1).random((1, 24, 20), np.float32)
    larger[0, :16, :12] = image
    maps = unet.forward(SMALL, variables, jnp.asarray(larger), jnp.array([16, 12]))
    np.testing.assert_allclose(maps[0, :16, :12], predict(SMALL, variables, image), rtol=0, atol=1e-6)
