"""Measures the ways to contribution maps: seconds, cells per second, and arithmetic against what it must take.

A method runs in two steps: what all cells share (the pass forward), then what each cell costs. Methods take turns,
round after round, so that whatever else the machine does hits all of them; the least of the rounds counts.
Compilation is apart: it is what JAX reports (tracing, lowering, compiling) of a first turn that is not counted;
none for a program that a method before compiled.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from wsis_jax.core import Compilations, Config, UserError, check_values, versions
from wsis_jax.network import (
    Cells,
    Model,
    UNet,
    full_multiply_adds,
    initial_variables,
    linearize,
    multiply_adds,
    one_of,
    pad_to_stride,
    record_images,
    windows_of_cells,
    winner_map_in_chunks,
)
from wsis_jax.points import centre_regions

_MOST_WIDTH = 1024  # of a fresh network: eight times that is the most of a level


class Case(NamedTuple):
    """Cells to propagate, and the model to do it with."""

    model: Model
    cells: Cells


class Method(NamedTuple):
    """One way to the contribution maps of a case."""

    name: str
    cells: int  # that a turn propagates
    flop: int  # floating point operations that a cell takes at least; a multiply-add is two
    forward: Callable[[], Any]  # does what all cells share and returns it
    back: Callable[[Any], Any]  # propagates the cells, given that


class Timing(NamedTuple):
    """What a method took, in seconds."""

    compilation: float
    forward: list[float]  # of every round
    back: list[float]  # of every round, all cells together


def fresh_model(width: int) -> Model:
    """Returns a fresh model of five levels: `width` channels in the first (the paper: 64), a sigma of 7 pixels.

    Raises UserError if the width is not positive.
    """
    _check(width=width)
    if width > _MOST_WIDTH:
        raise UserError(f"width must be at most {_MOST_WIDTH}, not {width}")
    w = width
    network = UNet((w, 2 * w, 4 * w, 8 * w, 8 * w), (4 * w, 2 * w, w, w))
    config = Config().override(["likelihood.sigma=7", "image.scale=1"])
    return Model.of(network, initial_variables(network, 0), config)


def noise(height: int, width: int, channels: int = 1) -> Float32[np.ndarray, "height width *channels"]:
    """Returns an image of random values, 0..1: what a pass costs does not depend on what is in the image.

    Raises UserError if a side is not positive.
    """
    _check(height=height, width=width)
    check_values("the image", height * width * channels, remedy="choose a smaller side")
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).random(shape, np.float32)


def draw_case(
    model: Model, image: Float32[np.ndarray, "height width *channels"], *, cells: int, radius: float
) -> Case:
    """Returns a case of cells at random pixels, each with its part of the disc of `radius` pixels around it.

    Raises UserError if the number of cells is not positive, or larger than that of the pixels.
    """
    _check(cells=cells)
    padded, _ = pad_to_stride(image, model.network.stride)
    plane = np.ones(padded.shape[:2], np.float32)
    if cells > plane.size:
        raise UserError(f"cells must be at most {plane.size}, the pixels of the image, not {cells}")
    pixels = np.random.default_rng(0).choice(plane.size, cells, replace=False)
    peaks = np.stack(np.unravel_index(np.sort(pixels), plane.shape), axis=1)
    regions = centre_regions(plane, peaks, region="disc", radius=radius, response=0.0)
    return Case(model, Cells(padded, regions, peaks))


def by_windows(case: Case, name: str, *, reach: float | None) -> Method:
    """Returns the method that passes through windows; contributions within `reach` pixels of the peak, or all."""
    model, cells = _by(case.model, "window"), case.cells._replace(reach=reach)
    network = model.network
    spans = windows_of_cells(network, cells)
    flop = 2 * multiply_adds(spans, network.encoder, network.decoder, inputs=network.inputs)
    return Method(
        name,
        len(cells.peaks),
        flop,
        lambda: one_of(record_images(model, cells.image[None], cells.shape), jnp.array(0)),
        lambda recorded: winner_map_in_chunks(model, cells, recorded=recorded),
    )


def by_images(case: Case, name: Literal["vmap", "loop"]) -> Method:
    """Returns a method that passes through the whole image for every cell."""
    model, cells, network = _by(case.model, name), case.cells, case.model.network
    flop = 2 * full_multiply_adds(cells.shape, network.encoder, network.decoder, inputs=network.inputs)
    forward, back = partial(linearize, model, cells.image), partial(winner_map_in_chunks, model, cells)
    return Method(name, len(cells.peaks), flop, forward, lambda linear: back(linear=linear))


def _by(model: Model, method: str) -> Model:
    """Returns the model with another method."""
    return model.using(model.config.override([f"contribution.method={method}"]))


def measure(
    methods: Sequence[Method], *, rounds: int, on_turn: Callable[[int], None] = lambda index: None
) -> list[Timing]:
    """Returns the timing of every method in so many turns, after one that is not counted.

    `on_turn` is called with the index of the method whose turn it is. Raises UserError if the number of rounds is
    not positive.
    """
    _check(rounds=rounds)

    def turn(index: int) -> tuple[float, float]:
        on_turn(index)
        start = time.perf_counter()
        shared = jax.block_until_ready(methods[index].forward())
        between = time.perf_counter()
        jax.block_until_ready(methods[index].back(shared))
        return between - start, time.perf_counter() - between

    timings, compilations = [], Compilations()
    for index in range(len(methods)):
        before = compilations.seconds
        turn(index)
        timings.append(Timing(compilations.seconds - before, [], []))
    for _ in range(rounds):
        for index, timing in enumerate(timings):
            forward, back = turn(index)
            timing.forward.append(forward)
            timing.back.append(back)
    return timings


def result(method: Method, timing: Timing, *, cells: int) -> dict[str, Any]:
    """Returns the numbers of one measurement, as JSON has them, for an image of so many cells.

    What was not timed on all of them is extrapolated, and says so.
    """
    forward, back = min(timing.forward), min(timing.back) / method.cells
    return {
        "method": method.name,
        "cells": cells,
        "cells_timed": method.cells,
        "extrapolated": cells != method.cells,
        "forward_seconds": forward,
        "seconds_per_cell": back,
        "seconds_per_cell_of_rounds": [seconds / method.cells for seconds in timing.back],
        "cells_per_second": 1 / back,
        "end_to_end_seconds": forward + cells * back,
        "compile_seconds": timing.compilation,
        "gflop_per_cell": method.flop / 1e9,
        "gflop_per_second": method.flop / back / 1e9,
    }


def speed_up(fast: dict[str, Any], slow: dict[str, Any]) -> dict[str, Any]:
    """Returns how many times faster one result is than another: per cell, and with the pass forward in."""
    rounds = zip(fast["seconds_per_cell_of_rounds"], slow["seconds_per_cell_of_rounds"], strict=True)
    return {
        "per_cell": slow["seconds_per_cell"] / fast["seconds_per_cell"],
        "per_cell_of_rounds": [theirs / ours for ours, theirs in rounds],
        "end_to_end": slow["end_to_end_seconds"] / fast["end_to_end_seconds"],
    }


def compare(
    model: Model, image: Float32[np.ndarray, "height width *channels"], *, cells: int
) -> list[dict[str, Any]]:
    """Returns the `result` of every method, the loop last, with the regions and the reach of a model's settings.

    The image is normalised and in pixels of the network. Passes through the whole image are timed on few cells.
    Raises UserError as `draw_case` does.
    """
    radius, reach = model.config.region_radius, model.config.cell_reach
    case, few = (draw_case(model, image, cells=n, radius=radius) for n in (cells, min(cells, 4)))
    methods = [by_windows(case, "window-all", reach=None), by_images(few, "vmap"), by_images(few, "loop")]
    if reach is not None:
        methods.insert(0, by_windows(case, "window", reach=reach))
    timings = measure(methods, rounds=3)
    return [result(method, timing, cells=cells) for method, timing in zip(methods, timings, strict=True)]


def surroundings() -> dict[str, Any]:
    """Returns the device, the machine and the versions that numbers depend on."""
    return {"cores": os.cpu_count(), **versions()}


def _check(**counts: int) -> None:
    """Raises UserError for a count that is not positive."""
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} must be at least 1, not {count}")
