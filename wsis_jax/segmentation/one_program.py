"""One program from images to winner maps, so that a device waits for no host in between.

It passes the images and their mirror images through the network, finds peaks and centre regions, and propagates
the cells back. `pipeline.py` takes the same steps one by one where this program does not suit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Int64

from wsis_jax.core import Config, WinnerMap, is_out_of_memory, kept_program
from wsis_jax.network import (
    BackwardRule,
    Model,
    Record,
    RecordedImage,
    Windows,
    chunk_of,
    frame_of,
    half_of,
    merged_in_chunks,
    record_and_likelihood,
    rule_of,
    start_signal,
    windows,
    winner_of_layers,
)
from wsis_jax.points import FoundPeaks, PeakSearch, disc_regions, farthest, most_room, peaks_of_map

# Pixels of peaks that a program has room for: more than most images have, since it costs little, and where there
# are more, all is done again with more room.
_LEAST_ROOM = 4096


class Located(NamedTuple):
    """What the program finds in an image, in pixels of the network; see `Detection`."""

    likelihood: Float32[np.ndarray, "height width"]
    peaks: Int64[np.ndarray, "cells 2"]
    regions: Int32[np.ndarray, "height width"]
    winner: WinnerMap


class _Given(NamedTuple):
    """What is known of each image before the program is run.

    Attributes:
        constant: whether all its pixels are equal, so that it holds no cells.
        peaks: (row, column) of the cells that were clicked; zeros after the last.
        count: how many were clicked; -1 where cells are to be found.
    """

    constant: Bool[Array, "*batch"]
    peaks: Int[Array, "*batch room 2"]
    count: Int[Array, "*batch"]


class _Fixed(NamedTuple):
    """What a program is compiled for, besides the sides of its images and the network.

    Attributes:
        views: of each image, see `record_and_likelihood`.
        rule: by which signals go back.
        quantize: see `peaks_of_map`.
        radius: of centre regions, in pixels.
        room: how many pixels of peaks there may be in an image, and how many cells.
        spans, chunk, reach: see `merged_in_chunks`.
    """

    views: int
    rule: BackwardRule
    quantize: bool
    radius: float
    room: int
    spans: Windows
    chunk: int
    reach: float | None


class _Found(NamedTuple):
    """What the program returns of each image: peaks and their room, and maps of the sides of the program."""

    peaks: FoundPeaks
    likelihood: Float[Array, "*batch height width"]
    regions: Int[Array, "*batch height width"]
    layers: Int[Array, "*batch 3 height width"]


for _type in (FoundPeaks, _Found):
    export.register_namedtuple_serialization(_type, serialized_name=f"wsis_jax.{_type.__name__}")


def suits(config: Config, *, clicked: bool) -> bool:
    """Returns whether the program suits settings, and cells that were clicked or are to be found."""
    disc = clicked or config.detect.region == "disc"
    return disc and config.contribution.method == "window" and jax.local_device_count() == 1


def locate_at_once(
    model: Model,
    images: Float32[np.ndarray, "batch height width *channels"],
    shape: tuple[int, int],
    *,
    constant: Sequence[bool],
    clicked: Sequence[Int64[np.ndarray, "_ 2"] | None],
) -> list[Located] | None:
    """Returns the cells of images of equal size and their winner maps, as the settings of a model say.

    Args:
        model: a trained model, with settings that the program suits.
        images: as the network sees them; their sides, multiples of `network.stride`, may be larger.
        shape: (height, width) of the images.
        constant: of each image, whether all its pixels are equal.
        clicked: of each image, (row, column) of the cells that were clicked; None: they are to be found.

    Returns:
        None where the program has no room for the peaks, or the memory is too small for it.

    Raises:
        UserError: if the settings ask for windows that do not fit into the memory of this machine.
    """
    found, radius = model.config.detect, model.config.region_radius
    search = PeakSearch.of(
        threshold=found.threshold,
        min_distance=found.min_distance,
        exclude_border=found.exclude_border,
        quantize=found.quantize,
    )
    most, size = most_room(radius), np.array(shape, np.int32)
    # Without the settings that the program does not use, so that it serves all others.
    light = replace(model, config=Config(contribution=model.config.contribution))
    wanted = max([min(_LEAST_ROOM, most), *(len(peaks) for peaks in clicked if peaks is not None)])
    while 0 < wanted <= most:
        room = 1 << (wanted - 1).bit_length()
        given, fixed = _given(constant, clicked, room), _fixed(model, room)
        try:
            seen = jax.device_get(compiled_program()(light, images, size, search, given, fixed=fixed))
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        wanted = int(seen.peaks.pixels.max())
        if wanted <= room:
            return [_of_image(jax.tree.map(lambda x, i=index: x[i], seen), shape) for index in range(len(images))]
    return None


@cache
def compiled_program() -> Callable[..., Any]:
    """Returns `image_to_winner_map`, compiled; one program serves all images that are padded to the same sides."""
    return kept_program(image_to_winner_map)


def image_to_winner_map(
    model: Model,
    images: Float[Array, "batch height width *channels"],
    shape: Int[Array, "2"],
    search: PeakSearch,
    given: _Given,
    *,
    fixed: _Fixed,
) -> _Found:
    """Returns the cells of a batch of images and the layers of their winner maps; see `locate_at_once`.

    Where there are more pixels of peaks than there is room for, no cells are propagated.
    """
    settings, network = model.config.contribution, model.network.clone(activation=jax.nn.relu)
    records, likelihoods = record_and_likelihood(
        network, model.variables, images, shape, rule=fixed.rule, views=fixed.views
    )

    def locate(image: tuple[Record, Array, _Given]) -> _Found:
        record, likelihood, mine = image
        likelihood = jnp.where(mine.constant, 0, likelihood)
        peaks = jax.lax.cond(
            mine.count < 0,
            partial(peaks_of_map, likelihood, shape, search, quantize=fixed.quantize, room=fixed.room),
            lambda: FoundPeaks(mine.peaks, mine.count, jnp.zeros_like(mine.count)),
        )
        regions = disc_regions(peaks.peaks, peaks.count, shape, sides=likelihood.shape, radius=fixed.radius)
        signal = start_signal(record.likelihood, settings)
        layers = merged_in_chunks(
            model,
            RecordedImage(record, signal, regions, frame_of(shape, network.stride)),
            peaks.peaks,
            peaks.count,
            spans=fixed.spans,
            chunk=fixed.chunk,
            reach=fixed.reach,
        )
        return _Found(peaks, likelihood, regions, layers)

    return jax.lax.map(locate, (records, likelihoods, given))


def _fixed(model: Model, room: int) -> _Fixed:
    """Returns what the program is compiled for, by the settings of a model."""
    config, reach = model.config, model.config.cell_reach
    half, levels = half_of(farthest(config.region_radius)), len(model.network.encoder)
    spans = windows(levels, half=half, reach=None if reach is None else int(reach))
    found, chunk = config.detect, chunk_of(model, spans)
    rule = rule_of(config.contribution.rule)
    return _Fixed(found.views, rule, found.quantize, config.region_radius, room, spans, chunk, reach)


def _given(constant: Sequence[bool], clicked: Sequence[Int64[np.ndarray, "_ 2"] | None], room: int) -> _Given:
    """Returns what is known of the images of a batch."""
    peaks = np.zeros((len(clicked), room, 2), np.int32)
    count = np.full(len(clicked), -1, np.int32)
    for index, own in enumerate(clicked):
        if own is not None:
            peaks[index, : len(own)], count[index] = own, len(own)
    of_host: Callable[..., _Given] = _Given
    return of_host(np.array(constant), peaks, count)


def _of_image(found: _Found, shape: tuple[int, int]) -> Located:
    """Returns what was found in an image, in arrays of its own and of its (height, width) `shape`."""
    frame = slice(shape[0]), slice(shape[1])
    return Located(
        np.array(found.likelihood[frame]),
        np.array(found.peaks.peaks[: int(found.peaks.count)], np.int64),
        np.array(found.regions[frame]),
        winner_of_layers(np.asarray(found.layers), shape),
    )
