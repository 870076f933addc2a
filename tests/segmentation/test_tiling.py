"""Tiles: whatever their size, the labels are those of the image in one piece."""

import errno
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsis_jax.core.errors import WriteError
from wsis_jax.network.unet import pad_to_stride
from wsis_jax.output.cell_table import contribution_margins
from wsis_jax.segmentation.pipeline import segment
from wsis_jax.segmentation.tiled.halos import halos_of, view_of, view_sides
from wsis_jax.segmentation.tiled.steps import scratch_array, scratch_bytes, scratch_folder, write_chunk
from wsis_jax.segmentation.tiled.tiling import TileOptions, segment_tiled


class Slices:
    """An array that gives and takes slices alone, none larger than a limit."""

    def __init__(self, array: np.ndarray, most: int) -> None:
        self._array, self._most = array, most
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, (8, 16)

    def __getitem__(self, window):
        values = self._array[window]
        assert values.size <= self._most
        return values.copy()

    def __setitem__(self, window, values):
        assert all(s.start % n == 0 for s, n in zip(window, self.chunks, strict=True))
        assert values.size <= self._most
        self._array[window] = values


def tiled(run, image, **options):
    labels = np.zeros(image.shape, np.uint32)
    return labels, *segment_tiled(run, image, labels, **options)


def assert_as_whole(run, image, *, config=None, tile):
    expected = segment(run, image, config=config)
    labels, points, scores, confidence, dropped = tiled(run, image, config=config, tile=tile)
    assert dropped == expected.dropped
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(points, expected.points)
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=1e-6)
    margins = contribution_margins(expected.labels, expected.winner, len(points))
    np.testing.assert_allclose(confidence, margins, rtol=0, atol=1e-5)
    return len(points)


def eager(run):
    """Settings that find most cells of a crowd, and some that are none."""
    return run.config.override(["detect.threshold=0.25"])


@pytest.fixture(scope="module")
def crowd(draw_small):
    """Cells everywhere, so also on the borders and corners of tiles; sides are not multiples of the stride."""
    return draw_small(7, cells=38, shape=(150, 173)).image


# Tiles of 48 and 64 are below.
@pytest.mark.parametrize("tile", [51, 1000])
def test_tiles_of_any_size_give_the_whole(tiny_run, crowd, tile):
    assert assert_as_whole(tiny_run.model, crowd, config=eager(tiny_run.model), tile=tile) > 20


# Always the same places: where rounding moves a pixel, tiles would not be at fault.
@pytest.mark.parametrize(("shift", "step", "tile"), [((94, 51), 1, 64), ((148, 7), -1, 48)])
def test_wherever_the_cells_lie(tiny_run, crowd, shift, step, tile):
    image = np.roll(crowd, shift, axis=(0, 1))[::step, :]
    assert (
        assert_as_whole(tiny_run.model, np.ascontiguousarray(image), config=eager(tiny_run.model), tile=tile) > 20
    )


@pytest.mark.filterwarnings("ignore:the cells look about")  # settings so odd that cells are specks
@pytest.mark.parametrize(
    "assignments",
    [
        "image.scale=0.7 likelihood.sigma=4.3 cut.min_area=0.9",  # about half of the cells are smaller
        "image.scale=1.4 likelihood.sigma=2.2 detect.views=1 image.normalization=max "
        "cut.data=flat cut.rim=dark cut.background_weight=0 cut.min_area=0",
        "cut.smooth=0 cut.dilate=2 cut.erode=1 cut.fill_others=true cut.conflict=background "
        "cut.seed_scale=max detect.quantize=true detect.exclude_border=2 cut.reach=3",
    ],
)
def test_so_do_other_settings(tiny_run, crowd, assignments):
    config = eager(tiny_run.model).override(assignments.split())
    assert assert_as_whole(tiny_run.model, crowd, config=config, tile=60) > 3


@pytest.mark.parametrize("shape", [(1, 70), (3, 3)])
def test_so_do_sides_below_the_stride(tiny_run, crowd, shape):
    assert_as_whole(tiny_run.model, np.ascontiguousarray(crowd[: shape[0], : shape[1]]), tile=40)


def test_whole_numbers_are_grey_values_as_well(unchecked, tiny_run, crowd):
    image = np.round(crowd * 1000).astype(np.uint16)
    expected = segment(tiny_run.model, image.astype(np.float32))
    np.testing.assert_array_equal(tiled(tiny_run.model, image, tile=64)[0], expected.labels)


def test_no_more_than_a_tile_is_read_or_written_at_a_time(tiny_run, crowd):
    labels = np.zeros(crowd.shape, np.int32)
    segment_tiled(tiny_run.model, Slices(crowd, 64 * 64), Slices(labels, 64 * 64), tile=64)
    np.testing.assert_array_equal(labels, segment(tiny_run.model, crowd).labels)


def test_progress_goes_from_the_first_part_to_the_last(tiny_run, draw_small):
    told = []
    for cells in (5, 0):
        told.clear()
        tiled(
            tiny_run.model,
            draw_small(9, cells=cells).image,
            tile=40,
            options=TileOptions(on_tile=lambda *of: told.append(of)),
        )
        totals = {total for _, total in told}
        assert len(totals) == 1
        assert [done for done, _ in told] == sorted({done for done, _ in told})
        assert told[-1][0] == totals.pop()


def test_a_constant_image_is_warned_of_and_holds_no_cell(tiny_run):
    with pytest.warns(UserWarning, match="the image is constant"):
        labels, points, scores, confidence, _ = tiled(tiny_run.model, np.full((40, 50), 7, np.float32), tile=32)
    assert not labels.any()
    assert points.shape == (0, 2)
    assert not len(scores)
    assert not len(confidence)


def test_values_that_are_no_numbers_are_refused(tiny_run, crowd):
    image = crowd.copy()
    image[140, 160] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        tiled(tiny_run.model, image, tile=64)


@pytest.mark.parametrize(
    "setting",
    ["cut.reach=null", "cut.overlap=sequential", "detect.region=response", "contribution.method=vmap"],
)
def test_settings_that_need_the_whole_image_are_refused_by_name(tiny_run, crowd, setting):
    with pytest.raises(ValueError, match=setting):
        tiled(tiny_run.model, crowd, config=tiny_run.model.config.override([setting]), tile=64)


def test_aligned_corners_are_refused(tiny_run, crowd):
    run = replace(tiny_run.model, network=tiny_run.model.network.clone(align_corners=True))
    with pytest.raises(ValueError, match="align_corners"):
        tiled(run, crowd, tile=64)


def test_labels_of_another_shape_or_type_are_refused(tiny_run, crowd):
    with pytest.raises(ValueError, match="shape"):
        segment_tiled(tiny_run.model, crowd, np.zeros((3, 4), np.uint32))
    with pytest.raises(ValueError, match="uint16"):
        segment_tiled(tiny_run.model, crowd, np.zeros(crowd.shape, np.uint16))
    with pytest.raises(ValueError, match="the image has 173 channels, but the model takes 1"):
        segment_tiled(tiny_run.model, crowd[None], np.zeros(crowd[None].shape, np.uint32))
    with pytest.raises(ValueError, match="side"):
        segment_tiled(tiny_run.model, crowd, np.zeros(crowd.shape, np.uint32), tile=0)


# Views


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(1, 1), (-1, 1), (1, -1), (-1, -1)]),
    st.sampled_from([1, 4, 8]),
    st.integers(1, 12),
    st.integers(0, 9),
    st.data(),
)
def test_a_view_is_a_window_of_the_mirrored_padded_image_on_its_grid(shape, flip, stride, tile, halo, data):
    image = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    start = [data.draw(st.integers(0, n - 1)) for n in shape]
    part = tuple(slice(a, min(a + tile, n)) for a, n in zip(start, shape, strict=True))
    sides = view_sides(shape, tile, halo, stride)
    view = view_of(part, shape, sides=sides, halo=halo, stride=stride, flip=flip)
    whole = pad_to_stride(image[:: flip[0], :: flip[1]], stride)[0]
    seen = view.of(image)
    assert seen.shape == sides
    np.testing.assert_array_equal(view.shown(seen), image[part])
    # There is a place on the grid where the whole shows the same; sides of both lie apart by the halo or coincide.
    places = [
        (row, column)
        for row in range(0, whole.shape[0] - sides[0] + 1, stride)
        for column in range(0, whole.shape[1] - sides[1] + 1, stride)
        if np.array_equal(whole[row : row + sides[0], column : column + sides[1]], seen)
    ]
    assert places
    for begin, inner, side, length in zip(places[0], view.part, sides, whole.shape, strict=True):
        assert inner.start >= halo or begin == 0
        assert side - inner.stop >= halo or begin + side == length


def test_halos_grow_with_the_reach_and_the_network(tiny_run):
    run = tiny_run.model
    near, far = (halos_of(run.network, run.config.override([f"cut.reach={reach}"])) for reach in (3, 6))
    assert all(a <= b for a, b in zip(near, far, strict=True))
    deep = run.network.clone(encoder=(4, 8, 8, 8), decoder=(8, 8, 4))
    assert halos_of(deep, run.config).field > far.field
    # The receptive field of three levels, counted by hand: 2 + 4 + 8 pixels down, 8 + 4 up, and what is between.
    assert far.field >= 26


def test_tiles_of_a_scan_with_a_border_give_the_whole(tiny_run, crowd):
    framed = np.pad(crowd[20:, 43:], ((0, 20), (40, 3)), constant_values=-1)  # as large as all other images here
    assert assert_as_whole(tiny_run.model, framed, tile=64) > 10


# Arrays in files


def test_what_is_written_to_a_file_is_read_from_it(tmp_path):
    with scratch_folder(tmp_path, room=1) as folder:
        array, expected = scratch_array(folder / "a", (30, 40), np.float32, 16), np.zeros((30, 40), np.float32)
        elsewhere = pickle.loads(pickle.dumps(array))
        for window in (np.s_[16:30, 0:16], np.s_[0:16, 32:40], np.s_[16:30, 16:32]):
            expected[window] = np.random.default_rng(0).random(expected[window].shape)
            write_chunk(array, window, expected[window])
        for window in (np.s_[0:30, 0:40], np.s_[3:29, 4:39], np.s_[20:21, 33:34]):
            np.testing.assert_array_equal(elsewhere[window], expected[window])
        chunks = [path for path in (folder / "a").rglob("*") if path.is_file() and path.name != "zarr.json"]
        assert [path.stat().st_size for path in chunks] == [4 * 16 * 16] * 3
        assert scratch_bytes((30, 40), 16) == 20 * 32 * 48
    assert not folder.exists()


def test_a_full_disk_is_told_while_chunks_are_written(tmp_path, monkeypatch):
    array = scratch_array(tmp_path / "a", (30, 40), np.float32, 16)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(WriteError, match=r"cannot be written, since the disk is full; .* \(TMPDIR; with --dask"):
        write_chunk(array, np.s_[0:16, 0:16], np.ones((16, 16), np.float32))


def test_a_full_disk_is_told_before_any_work(tmp_path):
    with (
        pytest.raises(ValueError, match=r"the image needs .* of temporary files"),
        scratch_folder(tmp_path, room=1 << 70),
    ):
        pass
    assert not list(tmp_path.iterdir())
