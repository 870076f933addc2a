"""A cut per cell, which is the cut of the whole image, with claims and without; and fusing cuts to labels."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import disk

from tests.cutting.drawn_cuts import cut_config, cut_drawn, discs, whole
from wsis_jax.core.config import Config, CutConfig, preset
from wsis_jax.cutting import cell_cuts
from wsis_jax.cutting.cell_cuts import CellMask, cut_cells, fuse_nearest, fuse_sequentially
from wsis_jax.cutting.graphcut import cut, least_cut
from wsis_jax.cutting.terms import Claims, Costs
from wsis_jax.synthetic import draw_scene

# Cuts


def test_nothing_beyond_reach_belongs_to_a_cell():
    scene = draw_scene(0, shape=(64, 64), cells=6, diameter=14.0)
    peaks = np.round(scene.points).astype(int)
    rows, columns = np.indices((64, 64))
    cuts = cut_drawn(scene.image, peaks, discs(peaks, (64, 64), 3), Config().cut, reach=6.0)
    for (row, column), part in zip(peaks, cuts, strict=True):
        assert np.hypot(rows - row, columns - column)[whole(part, (64, 64))].max() <= 6


def test_an_isolated_cell_floods_the_image_only_without_reach():
    scene = draw_scene(2, shape=(64, 64), cells=1, diameter=16.0)
    peaks = np.round(scene.points).astype(int)
    seeds = discs(peaks, (64, 64), 3)
    (bounded,) = cut_drawn(scene.image, peaks, seeds, Config().cut, reach=16.0)
    mask, truth = whole(bounded, (64, 64)), scene.labels == 1
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.6
    (flooded,) = cut_drawn(scene.image, peaks, seeds, preset("reference").cut, reach=None)
    assert whole(flooded, (64, 64)).mean() > 0.9


@pytest.mark.parametrize("name", ["default", "paper", "reference"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_cell_without_seeds_near_it_keeps_its_peak(name, elsewhere):
    image = draw_scene(0, shape=(48, 48), cells=3, diameter=12.0).image
    peaks = np.array([[10, 10], [30, 30]])
    seeds = discs(peaks, (48, 48), 3)
    seeds[seeds == 2] = 0
    if elsewhere:
        seeds[2:5, 40:44] = 2
    chosen = preset(name).cut
    reach = None if chosen.reach is None else 8.0
    cuts = cut_drawn(image, peaks, seeds, chosen, reach=reach)
    mask = whole(cuts[1], (48, 48))
    # Without reach, the seeds elsewhere decide where the cell is.
    assert mask.any() if elsewhere and reach is None else mask[30, 30]


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("reach", [10.0, None])
def test_the_number_of_threads_makes_no_difference(monkeypatch, reach, claimed):
    scene = draw_scene(1, shape=(64, 64), cells=8, diameter=12.0)
    peaks = np.round(scene.points).astype(int)
    seeds = discs(peaks, (64, 64), 2)
    weight = np.random.default_rng(0).random((64, 64), np.float32)
    claims = Claims(discs(peaks, (64, 64), 6), weight) if claimed else None
    results = []
    for threads in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        cuts = cut_drawn(scene.image, peaks, seeds, Config().cut, reach=reach, claims=claims)
        results.append([whole(part, (64, 64)) for part in cuts])
    np.testing.assert_array_equal(*results)


# Windows against the whole image


def cut_whole_image(costs, peaks, *, config):
    """What `cut_cells` promises, done as plainly as it can be: every step of every cell on the whole image."""
    preference, right, down, seeds, claims, *_ = costs
    reach, chosen, masks = config.cell_reach, config.cut, []
    for cell, (row, column) in enumerate(peaks):
        rows, columns = np.indices(seeds.shape)
        far = np.hypot(rows - row, columns - column) > (np.inf if reach is None else reach)
        own, others = (seeds == cell + 1) & ~far, (seeds > 0) & (seeds != cell + 1) & ~far
        own = ndimage.binary_fill_holes(own)
        if chosen.fill_others:
            others = ndimage.binary_fill_holes(others)
        own = own & ~others if chosen.conflict == "background" else own
        own[row, column] = True
        data = preference
        if claims is not None:
            data = preference + np.where(claims.owner == cell + 1, claims.weight, -claims.weight)
        mask = cut(data, right, down, own, (others | far) & ~own)
        components, _ = ndimage.label(mask, np.ones((3, 3)))
        mask = components == components[row, column]
        if chosen.dilate:
            mask = ndimage.binary_dilation(mask, disk(chosen.dilate))
        mask = ndimage.binary_fill_holes(mask)
        if chosen.erode:
            mask = ndimage.binary_erosion(mask, disk(chosen.erode), border_value=True)
        masks.append(mask)
    return masks


@st.composite
def problems(draw, sides=(1, 26)):
    """Costs that add up exactly (multiples of 1/8), ragged seeds, peaks anywhere, and settings."""
    shape = draw(st.integers(*sides)), draw(st.integers(*sides))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = min(draw(st.integers(1, 5)), shape[0] * shape[1])
    # From data that decide alone, so that cells end soon, to edges that do, so that cells flood the image.
    strength = draw(st.sampled_from([4, 16, 48]))
    preference = random.integers(-24 - strength // 4, 20, shape) / 8
    right, down = random.integers(0, strength + 1, (2, *shape)) / 8
    pixels = random.choice(shape[0] * shape[1], count, replace=False)
    peaks = np.stack(np.unravel_index(pixels, shape), axis=1)
    blobs = ndimage.gaussian_filter(random.normal(size=(count + 1, *shape)), (0, 1, 1), mode="nearest")
    near = discs(peaks, shape, draw(st.sampled_from([1.5, 4.0, 9.0])))
    seeds = np.where(draw(st.booleans()) & (blobs.max(0) > 0.4), blobs.argmax(0), near)
    seeds = np.where(random.random(shape) < draw(st.sampled_from([0.2, 1.0])), seeds, 0)
    owner, weight = random.integers(0, count + 1, shape), random.integers(0, 25, shape) / 8
    near = discs(peaks, shape, draw(st.sampled_from([3.0, 20.0])))
    claims = Claims(np.where(draw(st.booleans()), owner, near), np.where(random.random(shape) < 0.5, weight, 0))
    costs = Costs(preference, right, down, seeds, draw(st.sampled_from([None, claims])))
    options = {
        "reach": draw(st.sampled_from([None, None, 2.0, 6.5])),
        "conflict": draw(st.sampled_from(["foreground", "background"])),
        "fill_others": draw(st.booleans()),
        "dilate": draw(st.integers(0, 2)),
        "erode": draw(st.integers(0, 2)),
        "solver": draw(st.sampled_from(["pymaxflow", "scipy"])),
    }
    return costs, peaks, options


@pytest.fixture
def small_windows():
    """Windows so small that in small images some prove enough, and some do not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_cuts, "_MARGINS", (1, 3))
        yield


def assert_whole(cuts, masks):
    for cell, (part, mask) in enumerate(zip(cuts, masks, strict=True)):
        np.testing.assert_array_equal(whole(part, mask.shape), mask, err_msg=f"cell {cell}")


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems())
def test_a_cell_is_that_of_the_whole_image(small_windows, case):
    costs, peaks, options = case
    config = cut_config(CutConfig(), **options)
    assert_whole(cut_cells(costs, peaks, config=config), cut_whole_image(costs, peaks, config=config))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_cells_makes_no_difference(small_windows, case, random):
    costs, peaks, options = case
    config = cut_config(CutConfig(), **options)
    order = random.sample(range(len(peaks)), len(peaks))
    names = np.array([0, *(order.index(i) + 1 for i in range(len(peaks)))])
    claims = costs.claims and Claims(names[costs.claims.owner], costs.claims.weight)
    renamed = costs._replace(seeds=names[costs.seeds], claims=claims)
    shuffled = cut_cells(renamed, peaks[order], config=config)
    parts = cut_cells(costs, peaks, config=config)
    assert_whole(shuffled, [whole(parts[i], costs.seeds.shape) for i in order])


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems())
def test_claims_that_weigh_nothing_change_nothing(small_windows, case):
    costs, peaks, options = case
    config = cut_config(CutConfig(), **options)
    owner = np.ones(costs.seeds.shape, int) if costs.claims is None else costs.claims.owner
    without = cut_cells(costs._replace(claims=None), peaks, config=config)
    claims = Claims(owner, np.zeros(owner.shape))
    weightless = cut_cells(costs._replace(claims=claims), peaks, config=config)
    assert_whole(weightless, [whole(part, owner.shape) for part in without])


@pytest.mark.parametrize("reach", [9.0, None])
def test_a_claim_moves_pixels_to_its_owner(reach):
    """Between two cells that nothing else tells apart, the heavier claim decides, and it decides both cuts."""
    shape, peaks = (11, 21), np.array([[5, 5], [5, 15]])
    ones = np.ones(shape, np.float32)
    seeds, config = discs(peaks, shape, 1), cut_config(CutConfig(), reach, dilate=0, erode=0)
    maps = -0.125 * ones, 0.125 * ones, 0.125 * ones, seeds
    wide = np.abs(np.indices(shape)[1] - 7) <= 4
    wide &= np.abs(np.indices(shape)[0] - 5) <= 2
    for weight in (0.0, 1.0):
        costs = Costs(*maps, Claims(wide.astype(int), weight * ones))
        first, second = cut_cells(costs, peaks, config=config)
        assert np.array_equal(whole(first, shape), wide | (seeds == 1)) == bool(weight)
        np.testing.assert_array_equal(whole(second, shape), seeds == 2)


def test_claims_as_great_as_the_preference_leave_seeds_in_force(monkeypatch):
    # To strangers the image then costs nothing, and to its owner twice as much as to nobody's.
    monkeypatch.setattr(cell_cuts, "_MARGINS", (1, 1))
    shape, peaks = (9, 30), np.array([[4, 4], [4, 25]])
    ones, seeds = np.ones(shape, np.float32), discs(peaks, shape, 1)
    costs = Costs(50 * ones, 0 * ones, 0 * ones, seeds, Claims(discs(peaks, shape, 3), 50 * ones))
    config = cut_config(CutConfig(), None)
    assert_whole(cut_cells(costs, peaks, config=config), cut_whole_image(costs, peaks, config=config))


@pytest.mark.parametrize("name", ["default", "paper", "reference"])
@pytest.mark.parametrize("reach", [3.0, 9.5, None])
def test_drawn_cells_are_those_of_the_whole_image(small_windows, name, reach):
    scene = draw_scene(4, shape=(72, 60), cells=8, diameter=12.0)
    peaks, chosen = np.round(scene.points).astype(int), preset(name).cut
    seeds = discs(peaks, scene.image.shape, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.cutting.drawn_cuts.cut_cells", cut_whole_image)
        masks = cut_drawn(scene.image, peaks, seeds, chosen, reach=reach)
    assert_whole(cut_drawn(scene.image, peaks, seeds, chosen, reach=reach), masks)


def test_windows_grow_until_they_prove_enough_and_then_the_image_is_cut(monkeypatch):
    shape, peaks = (90, 100), np.array([[10, 10], [45, 60]])
    right = down = np.ones(shape, np.float32)
    seeds, config = discs(peaks, shape, 2), cut_config(CutConfig(), None)
    seen = []

    def spy(graph, **options):
        seen.append(graph.data.shape)
        return least_cut(graph, **options)

    monkeypatch.setattr(cell_cuts, "least_cut", spy)
    # Where all prefer the background, a cell is its seeds, and that its first window proves in two cuts.
    parts = cut_cells(Costs(np.full(shape, -3, np.float32), right, down, seeds), peaks, config=config)
    assert_whole(parts, [seeds == 1, seeds == 2])
    assert sorted(seen) == [(29, 29)] * 2 + [(37, 37)] * 2
    # Where nothing holds it back it is all but the seeds of the other, a hole; no window proves that.
    for solver in ("pymaxflow", "scipy"):
        config = cut_config(CutConfig(), None, solver=solver)
        parts = cut_cells(Costs(np.full(shape, 1, np.float32), right, down, seeds), peaks, config=config)
        assert_whole(parts, [np.ones(shape, bool)] * 2)
        assert all(part.mask.shape == shape for part in parts)
    assert seen[-1] == shape  # what SciPy cuts in the end


def test_with_a_reach_there_is_one_cut_in_one_window(monkeypatch):
    seen = []

    def spy(graph, **options):
        seen.append(graph.data.shape)
        return least_cut(graph, **options)

    monkeypatch.setattr(cell_cuts, "least_cut", spy)
    scene = draw_scene(0, shape=(64, 64), cells=2, diameter=12.0)
    peaks = np.array([[32, 32], [2, 60]])
    cut_drawn(scene.image, peaks, discs(peaks, (64, 64), 2), Config().cut, reach=5.5)
    assert sorted(seen) == [(10, 11), (15, 15)]


def test_arguments_are_only_read():
    scene = draw_scene(1, shape=(48, 48), cells=4, diameter=12.0)
    peaks = np.round(scene.points).astype(int)
    maps = [np.full((48, 48), value, np.float32) for value in (-1, 1, 1)] + [discs(peaks, (48, 48), 2)]
    for array in (*maps, peaks):
        array.flags.writeable = False
    costs = Costs(*maps, Claims(maps[-1], maps[1]))
    for reach in (10.0, None):
        assert len(cut_cells(costs, peaks, config=cut_config(CutConfig(), reach))) == 4


# Fusing

NO_PEAKS = np.empty((0, 2), np.int64)


def bar(shape: tuple[int, int], rows: slice, columns: slice) -> CellMask:
    """A rectangular cut in a window of the whole image."""
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return CellMask((slice(0, shape[0]), slice(0, shape[1])), mask)


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_no_cell_is_an_empty_label_image(fuse):
    image, seeds = np.zeros((6, 7), np.float32), np.zeros((6, 7), np.int32)
    cuts = cut_drawn(image, NO_PEAKS, seeds, Config().cut, reach=3.0)
    assert cuts == []
    labels = fuse(cuts, NO_PEAKS, (6, 7))
    assert labels.shape == (6, 7)
    assert labels.dtype == np.int32
    assert not labels.any()


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_one_cell_is_its_cut(fuse):
    part = bar((9, 9), slice(2, 5), slice(3, 8))
    np.testing.assert_array_equal(fuse([part], np.array([[3, 4]]), (9, 9)), part.mask)


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_labels_follow_the_order_of_the_peaks(fuse):
    scene = draw_scene(3, shape=(96, 96), cells=12, diameter=14.0)
    peaks = np.random.default_rng(0).permutation(np.round(scene.points).astype(int))
    cuts = cut_drawn(scene.image, peaks, discs(peaks, (96, 96), 2), Config().cut, reach=10.0)
    labels = fuse(cuts, peaks, (96, 96))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, 13))


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_more_cells_than_eight_bits_can_count(fuse):
    peaks = np.stack(np.meshgrid(np.arange(2, 100, 5), np.arange(2, 100, 5)), axis=-1).reshape(-1, 2)
    seeds = discs(peaks, (100, 100), 1)
    cuts = cut_drawn(np.full((100, 100), 0.5, np.float32), peaks, seeds, Config().cut, reach=2.0)
    labels = fuse(cuts, peaks, (100, 100))
    assert len(peaks) == 400
    np.testing.assert_array_equal(np.unique(labels), np.arange(401))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, 401))


def test_contested_pixels_go_to_the_nearest_peak():
    cuts = [bar((3, 12), slice(0, 3), slice(0, 9)), bar((3, 12), slice(0, 3), slice(4, 12))]
    labels = fuse_nearest(cuts, np.array([[1, 2], [1, 9]]), (3, 12))
    np.testing.assert_array_equal(labels, np.tile([1] * 6 + [2] * 6, (3, 1)))


def test_a_contested_pixel_midway_goes_to_the_first_peak_in_raster_order():
    cuts = [bar((1, 7), slice(0, 1), slice(0, 7))] * 2
    labels = fuse_nearest(cuts, np.array([[0, 5], [0, 1]]), (1, 7))
    np.testing.assert_array_equal(labels, [[2, 2, 2, 2, 1, 1, 1]])


def test_a_part_cut_off_from_its_peak_goes_to_the_cell_it_touches_most():
    shape, peaks = (10, 16), np.array([[5, 2], [5, 8], [8, 12]])
    cuts = [
        bar(shape, slice(5, 6), slice(0, 15)),  # cut in two by the next
        bar(shape, slice(3, 8), slice(6, 11)),
        bar(shape, slice(6, 10), slice(11, 15)),  # lies along the four pixels that are cut off
    ]
    labels = fuse_nearest(cuts, peaks, shape)
    assert (labels[5, :6] == 1).all()
    assert (labels[5, 6:11] == 2).all()
    assert (labels[5, 11:15] == 3).all()
    alone = fuse_nearest([*cuts[:1], bar(shape, slice(0, 10), slice(6, 9))], peaks[:2], shape)
    assert (alone[5, 9:15] == 2).all()  # the only neighbour it has


@st.composite
def random_cuts(draw: st.DrawFn) -> tuple[list[CellMask], np.ndarray, list[int]]:
    """Up to seven overlapping ragged cuts in an image of 12 × 14, their peaks, and another order of them."""
    count = draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    places = random.choice(12 * 14, count, replace=False)
    peaks = np.stack(np.divmod(places, 14), axis=1)
    cuts = []
    for row, column in peaks.tolist():
        window = slice(max(row - 5, 0), min(row + 6, 12)), slice(max(column - 5, 0), min(column + 6, 14))
        shape = window[0].stop - window[0].start, window[1].stop - window[1].start
        cuts.append(CellMask(window, random.random(shape) < random.uniform(0.3, 1)))
        cuts[-1].mask[row - window[0].start, column - window[1].start] = True
    return cuts, peaks, draw(st.permutations(range(count)))


@settings(deadline=None, max_examples=150)
@given(random_cuts())
def test_fusing_does_not_depend_on_the_order_of_the_cells(case):
    cuts, peaks, order = case
    labels = fuse_nearest(cuts, peaks, (12, 14))
    shuffled = fuse_nearest([cuts[i] for i in order], peaks[order], (12, 14))
    renamed = np.array([0, *(i + 1 for i in order)])[shuffled]
    np.testing.assert_array_equal(renamed, labels)


@settings(deadline=None, max_examples=60)
@given(random_cuts())
def test_fused_cells_are_whole_and_lie_in_the_cuts(case):
    cuts, peaks, _ = case
    labels = fuse_nearest(cuts, peaks, (12, 14))
    np.testing.assert_array_equal(labels[tuple(peaks.T)], np.arange(1, len(peaks) + 1))
    assert not labels[~np.any([whole(part, (12, 14)) for part in cuts], axis=0)].any()
    for label in range(1, len(peaks) + 1):
        assert ndimage.label(labels == label, np.ones((3, 3)))[1] == 1


def test_fusing_sequentially_divides_by_distance_and_the_later_cell_takes_what_is_cut_off():
    cuts = [bar((9, 15), slice(5, 6), slice(0, 15)), bar((9, 15), slice(3, 8), slice(6, 11))]
    peaks = np.array([[5, 2], [5, 8]])
    labels = fuse_sequentially(cuts, peaks, (9, 15))
    expected = np.zeros((9, 15), int)
    expected[3:8, 6:11] = 2
    expected[5] = [1] * 6 + [2] * 9  # of the contested 6..10 all are nearer to 8; 11..14 are cut off
    np.testing.assert_array_equal(labels, expected)


def test_fusing_sequentially_leaves_ties_to_the_earlier_cell():
    cuts = [bar((1, 7), slice(0, 1), slice(0, 7))] * 2
    labels = fuse_sequentially(cuts, np.array([[0, 5], [0, 1]]), (1, 7))
    np.testing.assert_array_equal(labels, [[2, 2, 2, 1, 1, 1, 1]])


@pytest.mark.parametrize("fuse", [fuse_nearest, fuse_sequentially])
def test_fusing_only_reads_its_arguments(fuse):
    peaks = np.array([[1, 2], [1, 9]])
    cuts = [bar((3, 12), slice(0, 3), slice(0, 9)), bar((3, 12), slice(0, 3), slice(4, 12))]
    peaks.flags.writeable = False
    for part in cuts:
        part.mask.flags.writeable = False
    assert fuse(cuts, peaks, (3, 12)).max() == 2
