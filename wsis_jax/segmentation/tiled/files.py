"""Images too large to be segmented whole: in tiles, with labels written by chunks."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from wsis_jax.core import (
    Config,
    ParallelMap,
    Plane,
    Progress,
    UserError,
    Window,
    WriteError,
    grid_windows,
    warn_about_image,
)
from wsis_jax.io import write_points, writing_labels
from wsis_jax.network import Model
from wsis_jax.output import (
    groups_of,
    measure_groups,
    overview,
    write_csv,
    write_features,
    write_overview,
    write_parquet,
)
from wsis_jax.segmentation.tiled.tiling import DEFAULT_TILE_OPTIONS, TiledCells, TileOptions, segment_tiled

TILED_ABOVE = 4096 * 4096
"""Pixels of the network that an image may have to be segmented whole, if nobody says otherwise."""

_OF_CELLS = ("table", "parquet", "geojson")

KINDS_OF_TILES = ("report", "points", *_OF_CELLS, "labels")
"""The kinds of files that are written of an image in tiles, labels as OME-Zarr."""

_CHUNK = 1024  # pixels a side
_BLOCK = 2 * _CHUNK  # what is read at a time to write other kinds


class Large(NamedTuple):
    """An image too large to be segmented whole, and what its file says of it.

    Attributes:
        name: of the results.
        image: grey values to segment, read by slices.
        channels: grey values of all channels, likewise.
        pixel_size: side of a pixel in µm, or None where nobody said.
    """

    name: str
    image: Plane
    channels: Sequence[Plane]
    pixel_size: float | None = None


def in_tiles(shape: tuple[int, int], tiles: bool | None) -> bool:
    """Tells whether an image of this (height, width), in pixels of the network, is segmented in tiles."""
    return shape[0] * shape[1] > TILED_ABOVE if tiles is None else tiles


def segment_large(
    model: Model,
    large: Large,
    out: Path,
    *,
    config: Config,
    kinds: Sequence[str],
    shown: bool = False,
    options: TileOptions = DEFAULT_TILE_OPTIONS,
) -> tuple[list[Path], int]:
    """Segments an image in tiles and writes its labels, `<name>_labels.ome.zarr`, and files of other kinds.

    Args:
        model: a trained model.
        large: the image.
        out: the folder to write to.
        config: the settings to use.
        kinds: kinds of files that were asked for; those not in `KINDS_OF_TILES` are left out with a warning.
        shown: whether there are to be pictures of the image for the page.
        options: how tiles are segmented.

    Returns:
        The files, the labels last, and the number of cells.

    Raises:
        UserError: if the image cannot be segmented in tiles, or none of `kinds` can be written of it.
        WriteError: if there is no room for files.
        UserError: if zarr is not installed.
    """
    if not set(kinds) & {*KINDS_OF_TILES} - {"report"}:
        raise UserError(
            f"{large.name}: is segmented in tiles, of which {', '.join(KINDS_OF_TILES[1:])} are written and not "
            f"{', '.join(kinds)}; add labels to --format, or give --no-tiles if the image fits into memory"
        )
    shape = large.image.shape[0], large.image.shape[1]
    blocks, of_cells = grid_windows(shape, (_BLOCK, _BLOCK)), any(kind in kinds for kind in _OF_CELLS)
    later = Progress(len(blocks) * (shown + 2 * of_cells), options.on_tile)
    labels = out / f"{large.name}_labels.ome.zarr"
    with writing_labels(labels, shape, chunks=(_CHUNK, _CHUNK), pixel_size=large.pixel_size) as array:
        try:
            found = segment_tiled(
                model, large.image, array, config=config, options=options._replace(on_tile=later.before)
            )
        except WriteError:
            raise
        except UserError as error:
            raise UserError(f"{large.name}: {error}") from error
        over, files = later.counting(options.parallel_map), []
        if shown:
            files += _write_pictures(out, large, array, found.points, blocks, over)
        if "points" in kinds:
            files.append(out / f"{large.name}_points.csv")
            write_points(files[-1], found.points)
        if of_cells:
            files += _write_cells(out, large, array, found, kinds, blocks, over)
        later.finish()
    if left_out := [kind for kind in kinds if kind not in KINDS_OF_TILES]:
        warn_about_image(
            f"is segmented in tiles, so not written: {', '.join(left_out)}; --no-tiles does the whole at once"
        )
    return [*files, labels], len(found.points)


def _write_pictures(
    out: Path,
    large: Large,
    labels: Plane,
    points: Float[np.ndarray, "cells 2"],
    blocks: Sequence[Window],
    over: ParallelMap,
) -> list[Path]:
    """Writes the pictures of the page."""
    pixels, seen = overview(large.image, labels, blocks, over)
    ratio = np.array(seen.shape) / np.array(labels.shape)
    return write_overview(out / "report", large.name, pixels, seen, (points + 0.5) * ratio - 0.5)


def _write_cells(
    out: Path,
    large: Large,
    labels: Plane,
    found: TiledCells,
    kinds: Sequence[str],
    blocks: Sequence[Window],
    over: ParallelMap,
) -> list[Path]:
    """Writes the files of some kinds that have a line for each cell."""
    measured = measure_groups(
        groups_of(labels, blocks, over),
        over,
        labels=labels,
        channels=large.channels,
        scores=found.scores,
        confidence=found.confidence,
        pixel_size=large.pixel_size,
        features_of=large.name if "geojson" in kinds else None,
    )
    files = []
    if "table" in kinds:
        files.append(out / f"{large.name}_cells.csv")
        write_csv(files[-1], measured.table)
    if "parquet" in kinds:
        files.append(out / f"{large.name}_cells.parquet")
        write_parquet(files[-1], measured.table)
    if "geojson" in kinds:
        files.append(out / f"{large.name}_cells.geojson")
        write_features(files[-1], measured.features)
    return files
