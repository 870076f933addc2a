"""Training samples and batches: what depends on the seed, what must stay aligned, what is held out."""

import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import rankdata

from wsis_jax.points.likelihood import find_peaks, render_likelihood
from wsis_jax.training import patches
from wsis_jax.training.patches import Sample, hold_out, make_sample, put_samples

POINTS = np.array([[8.0, 9.0], [20, 31], [33, 12], [5, 40], [40, 44]])


# Compiled, as in a training; operation by operation takes seconds.
compiled_draw = jax.jit(patches.draw_batch, static_argnames=("batch", "patch", "augment"))
compiled_interpolate = jax.jit(patches._interpolate)


def put_alike(samples):
    """Samples, behind them NaN that is never read: so samples of any size share programs."""
    pixels = put_samples(samples)
    spare = -len(pixels.values) % 2**14
    return pixels._replace(values=np.pad(pixels.values, ((0, spare), (0, 0)), constant_values=np.nan))


def draw_batch(samples, *, seed, step, **options):
    """A batch as NumPy arrays."""
    drawn = compiled_draw(jax.random.key(seed), put_alike(samples), step, **options)
    return [np.asarray(part) for part in drawn if part is not None]


def sample(shape=(48, 56), *, seed=0) -> Sample:
    """A sample whose image is 0.2 + 0.6 · target, and no two patches of which are equal."""
    target = render_likelihood(POINTS, shape, sigma=3.0)
    target = (target + np.random.default_rng(seed).random(shape)).astype(np.float32) / 2
    return Sample(0.2 + 0.6 * target, POINTS, target)


def rank_correlation(image, target):
    """1 where one is a rising function of the other: gamma and contrast leave it alone."""
    return np.corrcoef([rankdata(part) for part in (image, target)])[0, 1]


def is_patch_of(patch, whole):
    """True where the patch, unturned, lies somewhere in the whole."""
    windows = np.lib.stride_tricks.sliding_window_view(whole, patch.shape)
    return bool((windows == patch).all(axis=(-2, -1)).any())


def turns(patch):
    """The eight turned and flipped forms of a square."""
    return [np.rot90(flipped, n) for flipped in (patch, patch.T) for n in range(4)]


# Samples


def test_a_sample_in_its_own_pixels():
    image = np.random.default_rng(0).random((48, 56))
    made = make_sample(image, POINTS, scale=1.0, sigma=3.0)
    np.testing.assert_array_equal(made.image, image.astype(np.float32))
    np.testing.assert_array_equal(made.points, POINTS)
    np.testing.assert_array_equal(made.likelihood, render_likelihood(POINTS, (48, 56), sigma=3.0))


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_image_points_and_target_are_scaled_alike(scale):
    image = render_likelihood(POINTS, (48, 56), sigma=4.0)
    made = make_sample(image, POINTS, scale=scale, sigma=4.0)
    assert made.image.shape == made.likelihood.shape == (48 * scale, 56 * scale)
    np.testing.assert_allclose(made.image, made.likelihood, atol=0.08)  # smoothing lowers the tops
    peaks = find_peaks(made.likelihood, threshold=0.5, min_distance=2)
    assert len(peaks) == len(POINTS)
    assert all(np.abs(made.points - peak).max(axis=1).min() <= 0.5 for peak in peaks)


def test_a_sample_without_points():
    made = make_sample(np.ones((10, 12)), np.zeros((0, 2)), scale=1.0, sigma=2.0)
    assert made.points.shape == (0, 2)
    assert not made.likelihood.any()


# Batches


@pytest.mark.parametrize("augment", ["none", "exact", "free"])
def test_a_batch_depends_on_seed_and_step_alone(augment):
    options = {"batch": 5, "patch": 16, "augment": augment}
    samples = [sample(seed=0), sample(seed=1)]
    first = draw_batch(samples, seed=4, step=10, **options)
    draw_batch(samples, seed=4, step=11, **options)
    again = draw_batch([sample(seed=0), sample(seed=1)], seed=4, step=10, **options)
    np.testing.assert_array_equal(first, again)
    for seed, step in [(4, 11), (5, 10), (10, 4)]:
        assert not np.array_equal(first, draw_batch(samples, seed=seed, step=step, **options))


@pytest.mark.parametrize("augment", ["none", "exact", "free"])
@pytest.mark.parametrize("shape", [(48, 56), (16, 16), (9, 56), (1, 1)])
def test_shapes_and_types_of_a_batch(augment, shape):
    images, targets = draw_batch([sample(shape)], batch=5, patch=16, augment=augment, seed=0, step=0)
    for part in (images, targets):
        assert part.shape == (5, 16, 16, 1)
        assert part.dtype == np.float32
        assert np.isfinite(part).all()
    assert 0 <= targets.min() <= targets.max() <= 1


def test_patches_are_cut_from_one_place_of_image_and_target():
    samples = [sample(seed=seed) for seed in range(3)]
    images, targets = draw_batch(samples, batch=40, patch=16, augment="none", seed=0, step=0)
    np.testing.assert_allclose(images, 0.2 + 0.6 * targets, atol=1e-6)
    origins = [[is_patch_of(target[..., 0], one.likelihood) for one in samples] for target in targets]
    assert np.sum(origins, axis=1).tolist() == [1] * 40
    assert np.any(origins, axis=0).all()  # every image is drawn from
    assert len({target.tobytes() for target in targets}) > 35


def in_colours(seed=0) -> Sample:
    """A sample of three channels that are all the image's, in other ranges."""
    one = sample(seed=seed)
    return one._replace(image=np.stack([one.image, 0.5 * one.image, 1 - one.image], axis=-1))


@pytest.mark.parametrize("augment", ["none", "exact", "free"])
def test_channels_are_drawn_together(augment):
    options = {"batch": 8, "patch": 16, "augment": augment, "seed": 3, "step": 5}
    images, targets = draw_batch([in_colours()], **options)
    grey, expected = draw_batch([sample()], **options)
    assert images.shape == (8, 16, 16, 3)
    np.testing.assert_array_equal(targets, expected)
    if augment == "none":
        np.testing.assert_array_equal(images[..., :1], grey)
        np.testing.assert_allclose(images[..., 2], 1 - images[..., 0], atol=1e-6)
        return
    clear = targets[..., 0] > 0.1
    for image, target, known in zip(images, targets[..., 0], clear, strict=True):
        signs = [rank_correlation(image[..., channel][known], target[known]) for channel in range(3)]
        assert signs[0] > 0.5 < signs[1]
        assert signs[2] < -0.5


def test_intensities_of_channels_are_changed_by_themselves():
    alike = sample()._replace(image=np.repeat(sample().image[..., None], 2, axis=2))
    images, _ = draw_batch([alike], batch=20, patch=16, augment="exact", seed=0, step=0)
    differences = np.abs(images[..., 0].mean((1, 2)) - images[..., 1].mean((1, 2)))
    assert differences.min() > 1e-3
    assert differences.max() > 0.05


def test_every_place_of_an_image_can_be_drawn():
    ramp = np.arange(5 * 6, dtype=np.float32).reshape(5, 6)
    one = Sample(ramp, POINTS, ramp)
    _, targets = draw_batch([one], batch=200, patch=4, augment="none", seed=0, step=0)
    assert {target[0, 0, 0] for target in targets} == {0, 1, 2, 6, 7, 8}


def test_exact_augmentation_turns_image_and_target_alike_and_changes_the_image_alone():
    one = sample((16, 16))
    images, targets = draw_batch([one], batch=60, patch=16, augment="exact", seed=0, step=0)
    seen = set()
    for image, target in zip(images[..., 0], targets[..., 0], strict=True):
        (form,) = (n for n, turned in enumerate(turns(one.likelihood)) if np.array_equal(turned, target))
        seen.add(form)
        others = [turned for turned in turns(target) if not np.array_equal(turned, target)]
        assert rank_correlation(image, target) > 0.9 > 0.7 > max(rank_correlation(image, one) for one in others)
    assert seen == set(range(8))
    assert np.ptp(images.mean(axis=(1, 2, 3))) > 0.1
    assert np.ptp(images.std(axis=(1, 2, 3))) > 0.03


@pytest.mark.parametrize("shape", [(10, 56), (48, 7), (10, 7), (16, 15), (3, 2)])
@pytest.mark.parametrize("augment", ["none", "exact"])
def test_small_images_are_continued_by_mirroring(shape, augment):
    one = sample(shape)
    half = one.likelihood
    mirrored = np.tile(np.block([[half, half[:, ::-1]], [half[::-1], half[::-1, ::-1]]]), (8, 8))
    images, targets = draw_batch([one], batch=5, patch=16, augment=augment, seed=0, step=0)
    for image, target in zip(images[..., 0], targets[..., 0], strict=True):
        forms = turns(target) if augment == "exact" else [target]
        assert any(is_patch_of(form, mirrored[:72, :72]) for form in forms)
        assert rank_correlation(image, target) > 0.9


def test_free_augmentation_turns_image_and_target_alike():
    images, targets = draw_batch([sample((40, 44))], batch=20, patch=32, augment="free", seed=0, step=0)
    correlations = [rank_correlation(image, target) for image, target in zip(images, targets, strict=True)]
    assert min(correlations) > 0.85
    strangers = [rank_correlation(image, target) for image, target in zip(images, targets[1:], strict=False)]
    assert max(strangers) < 0.5


def test_free_augmentation_turns_to_any_angle_and_zooms_but_gaussians_keep_their_sigma():
    shape, sigma = (128, 128), 5.0
    points = np.array([[63.5, 51.0], [63.5, 76.0]])
    target = render_likelihood(points, shape, sigma=sigma)
    _, targets = draw_batch([Sample(target, points, target)], batch=30, patch=128, augment="free", seed=0, step=0)
    distances, angles = [], []
    for target in targets[..., 0]:
        near = np.argwhere(target > 0.4)
        peaks = find_peaks(target, threshold=0.9, min_distance=6)
        if len(peaks) != 2:  # a cell mirrored at the border is seen as well
            continue
        centres = []
        for peak in peaks:
            # The logarithm of a Gaussian is a paraboloid: a + b · row + c · column - distance² / (2 sigma²).
            own = near[np.hypot(*(near - peak).T) < sigma]
            paraboloid = np.column_stack([np.ones(len(own)), own, (own**2).sum(axis=1)])
            _, row, column, square = np.linalg.lstsq(paraboloid, np.log(target[tuple(own.T)]), rcond=None)[0]
            assert np.sqrt(-1 / (2 * square)) == pytest.approx(sigma, rel=0.03)
            centres.append([row / (-2 * square), column / (-2 * square)])
        rows, columns = np.subtract(*centres)
        distances.append(np.hypot(rows, columns))
        angles.append(np.degrees(np.arctan2(rows, columns)) % 90)
    zooms = np.array(distances) / 25
    assert len(zooms) > 20
    assert 0.76 < zooms.min() < 0.85
    assert 1.18 < zooms.max() < 1.3
    assert len(np.unique(np.array(angles) // 10)) >= 7


@pytest.mark.parametrize("shape", [(40, 44), (20, 70), (5, 3), (1, 1)])
def test_interpolation_is_that_of_scipy_in_the_mirrored_image(shape):
    samples = [sample((9, 8)), sample(shape, seed=1), sample((3, 12))]
    place = np.random.default_rng(0).uniform(-80, 120, (2, 30, 25)).astype(np.float32)
    values, weight = compiled_interpolate(put_alike(samples), np.int32(1), place)
    assert weight is None
    for plane, interpolated in zip(
        (samples[1].image, samples[1].likelihood), np.moveaxis(values, -1, 0), strict=True
    ):
        expected = ndimage.map_coordinates(plane, place, order=1, mode="reflect")
        np.testing.assert_allclose(interpolated, expected, atol=2e-5)


@pytest.mark.parametrize("augment", ["none", "exact", "free"])
def test_weights_are_drawn_with_their_targets(augment):
    # Of this sample the target is known where it is below a half.
    known = sample()
    known = known._replace(weight=(known.likelihood < 0.5).astype(np.float32))
    options = {"batch": 20, "patch": 16, "augment": augment, "seed": 0, "step": 0}
    images, targets, weights = draw_batch([known, sample(seed=1)], **options)
    plain = compiled_draw(jax.random.key(0), put_alike([sample(), sample(seed=1)]), 0, **without_seed(options))
    assert plain.weights is None
    np.testing.assert_array_equal(images, plain.images)
    np.testing.assert_array_equal(targets, plain.targets)
    assert set(np.unique(weights)) == {0, 1}
    partly = [patch for patch in range(20) if not weights[patch].all()]
    assert 0 < len(partly) < 20  # the other sample is known everywhere
    if augment != "free":
        np.testing.assert_array_equal(weights[partly], targets[partly] < 0.5)
    else:  # zoomed and interpolated
        assert targets[partly][weights[partly] == 1].max() < 0.5 ** np.exp(-0.5)


def without_seed(options):
    """The options of a program."""
    return {name: value for name, value in options.items() if name not in ("seed", "step")}


def test_more_pixels_than_indices_are_refused():
    huge = np.broadcast_to(np.float32(0), (2**16, 2**15))
    with pytest.raises(ValueError, match="2147483648 pixels are too many to train on; use fewer images"):
        put_samples([Sample(huge, POINTS, huge)])


# Holding out


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 100))
def test_images_held_out_are_no_training_images(count, share, seed):
    assume(count * share >= 1)
    train, held = hold_out(count, share=share, seed=seed)
    assert sorted(train + held) == list(range(count))
    assert train == sorted(train)
    assert held == sorted(held)
    assert train
    assert held
    assert len(held) <= count * share + 1e-9  # 0.29 × 100 is less than 29 in floating point
    assert len(held) > count * share - 1 or len(train) == 1
    assert (train, held) == hold_out(count, share=share, seed=seed)


def test_another_seed_holds_out_other_images():
    assert len({tuple(hold_out(20, share=0.2, seed=seed)[1]) for seed in range(10)}) > 5


@pytest.mark.parametrize(("count", "share"), [(1, 0.2), (4, 0.2), (1, 1.0), (7, 0.0), (1, 0.0)])
def test_where_nothing_is_held_out_the_validation_is_the_training(count, share):
    assert hold_out(count, share=share, seed=0) == (list(range(count)), list(range(count)))
