"""Images too large to be segmented whole: in tiles, with labels written by chunks."""

from pathlib import Path
from typing import NamedTuple

from wsis_jax.core import Config, Progress, UserError, WriteError, grid_windows, warn_about_image
from wsis_jax.io import SourceImage
from wsis_jax.network import Model
from wsis_jax.output import FORMATS, FormatChoice, TiledCells, TiledResult, tiled_kinds
from wsis_jax.segmentation.tiled.tiling import DEFAULT_TILE_OPTIONS, TileOptions, segment_tiled

TILED_ABOVE = 4096 * 4096
"""Images of more pixels of the network are segmented in tiles, unless --no-tiles is given."""

_CHUNK = 1024  # pixels a side
_BLOCK = 2 * _CHUNK  # what is read at a time to write other files
_PASSES = 3  # over the image for what is written of its cells: their boxes, their table, their outlines


class WantedFiles(NamedTuple):
    """What is to be written of an image.

    Attributes:
        folder: to write to.
        formats: those that were asked for; what cannot be written of an image in tiles is left out with a warning.
        shown: whether the page of results shows the image.
    """

    folder: Path
    formats: FormatChoice
    shown: bool = False


def in_tiles(shape: tuple[int, int], tiles: bool | None) -> bool:
    """Tells whether an image of this (height, width), in pixels of the network, is segmented in tiles."""
    return shape[0] * shape[1] > TILED_ABOVE if tiles is None else tiles


def segment_large(
    model: Model,
    source: SourceImage,
    wanted: WantedFiles,
    *,
    config: Config,
    options: TileOptions = DEFAULT_TILE_OPTIONS,
) -> tuple[list[Path], TiledCells]:
    """Segments an image in tiles and writes its labels as OME-Zarr, and the other files that are wanted.

    Returns:
        The files, the labels last, and the cells.

    Raises:
        UserError: if the image cannot be segmented in tiles, or none of the formats can be written of it.
        WriteError: if there is no room for files.
    """
    from wsis_jax.io import writing_labels  # imports zarr, which images in memory do not need

    kinds, possible = wanted.formats.kinds, [kind for kind in tiled_kinds() if not FORMATS[kind].gallery_only]
    if not set(kinds) & set(possible):
        raise UserError(
            f"{source.name}: is segmented in tiles, of which {', '.join(possible)} are written and not "
            f"{', '.join(kinds)}; add labels to --format, or give --no-tiles if the image fits into memory"
        )
    blocks = grid_windows(source.shape, (_BLOCK, _BLOCK))
    passes = _PASSES * any(FORMATS[kind].measures_cells for kind in kinds) + (wanted.shown and "report" in kinds)
    later = Progress(len(blocks) * passes, options.on_tile)
    labels = FORMATS["labels"].path(wanted.folder, source.name, tiled=True)
    with writing_labels(labels, source.shape, chunks=(_CHUNK, _CHUNK), pixel_size=source.pixel_size) as array:
        try:
            found = segment_tiled(
                model, source.image, array, config=config, options=options._replace(on_tile=later.before)
            )
        except WriteError:
            raise
        except UserError as error:
            raise UserError(f"{source.name}: {error}") from error
        result = TiledResult(source, array, found, blocks, later.counting(options.parallel_map))
        files = wanted.formats.write_tiled(wanted.folder, result, shown=wanted.shown)
        later.finish()
    if left_out := [kind for kind in kinds if not FORMATS[kind].tiled]:
        warn_about_image(
            f"is segmented in tiles, so not written: {', '.join(left_out)}; --no-tiles does the whole at once"
        )
    return [*files, labels], found
