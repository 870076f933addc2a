"""Images too large to be segmented whole: in tiles, with labels written by chunks."""

from collections.abc import Callable, Sequence
from pathlib import Path

from wsis_jax.checkpoint import Run
from wsis_jax.config import Config
from wsis_jax.omezarr import writing_labels
from wsis_jax.points import write_points
from wsis_jax.remarks import remark
from wsis_jax.streaming import Plane
from wsis_jax.tile_steps import Over, one_by_one
from wsis_jax.tiling import segment_tiled

TILED_ABOVE = 4096 * 4096
"""Pixels of the network that an image may have to be segmented whole, if nobody says otherwise."""

KINDS_OF_TILES = ("points", "labels")
"""The kinds of files that are written of an image in tiles, labels as OME-Zarr."""

_CHUNK = 1024  # pixels a side


def in_tiles(shape: tuple[int, int], tiles: bool | None) -> bool:
    """Tells whether an image of this (height, width), in pixels of the network, is segmented in tiles."""
    return shape[0] * shape[1] > TILED_ABOVE if tiles is None else tiles


def segment_large(
    run: Run,
    image: Plane,
    out: Path,
    name: str,
    *,
    config: Config,
    kinds: Sequence[str],
    pixel_size: float | int | None = None,
    over: Over = one_by_one,
    scratch: Path | None = None,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Path], int]:
    """Segments an image in tiles and writes `<name>_labels.ome.zarr` and `<name>_points.csv`.

    Args:
        run: a trained model.
        image: grey values, read by slices.
        out: the folder to write to.
        name: of the image.
        config: the settings to use.
        kinds: kinds of files that were asked for; those not in `KINDS_OF_TILES` are left out with a warning.
        pixel_size: side of a pixel in µm, if it is known.
        over, scratch: see `segment_tiled`.
        on_tile: called with the number of parts done and of all.

    Returns:
        The files, the labels last, and the number of cells.

    Raises:
        ValueError: if the image cannot be segmented in tiles, or none of `kinds` can be written of it.
        WriteError: if there is no room for files.
        ImportError: if zarr is not installed.
    """
    if not set(kinds) & set(KINDS_OF_TILES):
        raise ValueError(
            f"{name}: is segmented in tiles, of which {' and '.join(KINDS_OF_TILES)} are written and not "
            f"{', '.join(kinds)}; add labels to --format, or give --no-tiles if the image fits into memory"
        )
    labels, shape = out / f"{name}_labels.ome.zarr", (image.shape[0], image.shape[1])
    with writing_labels(labels, shape, chunks=(_CHUNK, _CHUNK), pixel_size=pixel_size) as array:
        try:
            points, _ = segment_tiled(
                run, image, array, config=config, over=over, scratch=scratch, on_tile=on_tile
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        files = [out / f"{name}_points.csv"] if "points" in kinds else []
        for file in files:
            write_points(file, points)
    if left_out := [kind for kind in kinds if kind not in KINDS_OF_TILES]:
        remark(
            f"is segmented in tiles, so {', '.join(left_out)} are not written; --no-tiles does the whole at once",
        )
    return [*files, labels], len(points)
