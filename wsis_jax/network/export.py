"""Trained models for programs without this package: functions in StableHLO, the weights in them.

`jax.export.deserialize` loads them where JAX and flatbuffers are installed, on a CPU, GPU or TPU. The numbers of
images and of cells and the sides of images are symbols: one file serves all of them, and every new shape is
compiled when it is first called with. What the rest of the way needs to know is in `export.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import Exported, SymbolicScope, export, symbolic_shape
from jaxtyping import Array, Float, Int

from wsis_jax.core import replacing, rounded_up, versions, write_text
from wsis_jax.network.contributions import contribution_windows, windows_of_model
from wsis_jax.network.model import Model
from wsis_jax.network.receptive_field import working_bytes
from wsis_jax.network.unet import UNet, forward
from wsis_jax.network.windowed import backward_kernels

PLATFORMS = ("cpu", "cuda", "tpu")

# Sides that a service may pad images to, so that few programs are compiled: at most 1.8 times the pixels.
_BUCKETS = (256, 384, 512, 768, 1024, 1536, 2048)


def export_model(model: Model, folder: str | Path) -> None:
    """Writes `forward.stablehlo`, `contributions.stablehlo` and `export.json` to a folder.

    The folder is made if need be, and what is there of these names is replaced.

    Raises:
        UserError: if `detect.region` is "response", which bounds no region.
    """
    folder = Path(folder)
    functions = {"forward": export_forward(model), "contributions": export_contributions(model)}
    for name, exported in functions.items():
        with replacing(folder / f"{name}.stablehlo") as temporary:
            temporary.write_bytes(exported.serialize())
    write_text(folder / "export.json", json.dumps(describe(model, functions), indent=2) + "\n")


def export_forward(model: Model) -> Exported:
    """Returns the function from images (batch, height, width), 0..1, to their likelihood maps, of the same shape.

    Images of several channels have them on a fourth axis, as the network sees them.
    Sides are multiples of `model.network.stride`, and with aligned corners twice that at least. The network
    computes in `unet.precision` of the settings; arguments and result are float32.
    """
    scope, sides = _sides(model.network)
    batch = symbolic_shape("batch", scope=scope)
    images = jax.ShapeDtypeStruct((*batch, *sides, *_channels(model.network)), jnp.float32)
    return export(jax.jit(partial(forward, model.network, model.variables)), platforms=PLATFORMS)(images)


def export_contributions(model: Model) -> Exported:
    """Returns `contribution_windows` of a model as a function of image, regions and peaks.

    Its arguments are the image, 0..1 and with sides and channels as for `export_forward`; the regions
    (height, width) int32, i + 1 in the centre region of cell i; and the peaks (cells, 2) int32, in the image.
    It returns maps (cells, side, side) float32 around each peak (`describe` says which pixels), 0 outside the
    image and farther from the peak than `cut.reach`.

    Of a region counts what is within `detect.radius` of its peak, per axis. Regions of ids other than 1 to the
    number of peaks are nobody's, and a peak without a region has a map of zeros.

    Raises:
        UserError: if `detect.region` is "response", which bounds no region.
    """

    def contributions(
        image: Float[Array, "height width *channels"],
        regions: Int[Array, "height width"],
        peaks: Int[Array, "cells 2"],
    ) -> Float[Array, "cells side side"]:
        # The kernels are turned in the program, lest the file hold the weights twice.
        light = replace(model, kernels=backward_kernels(model.variables))
        return contribution_windows(light, image, regions, peaks, reach=model.config.cell_reach)

    scope, sides = _sides(model.network)
    cells = symbolic_shape("cells", scope=scope)
    return export(jax.jit(contributions), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct((*sides, *_channels(model.network)), jnp.float32),
        jax.ShapeDtypeStruct(sides, jnp.int32),
        jax.ShapeDtypeStruct((*cells, 2), jnp.int32),
    )


def describe(model: Model, functions: dict[str, Exported]) -> dict[str, Any]:
    """Returns what `export.json` holds: arguments and results, the place of the maps, settings, versions."""
    network, config = model.network, model.config
    spans = windows_of_model(model, reach=config.cell_reach)
    span = spans.encoder[0].input
    settings = config.to_dict()
    del settings["train"]
    told: dict[str, Any] = {
        name: {
            "file": f"{name}.stablehlo",
            "arguments": _shapes(exported.in_avals),
            "result": _shapes(exported.out_avals)[0],
            "calling_convention_version": exported.calling_convention_version,
        }
        for name, exported in functions.items()
    }
    told["forward"]["meaning"] = "images, 0..1, to likelihood maps, 0..1"
    told["contributions"] |= {
        "meaning": "image, 0..1, regions (i + 1 in the centre region of cell i, 0 elsewhere) and peaks (row, "
        "column) to contribution maps; [i, 0, 0] is of the pixel peaks[i] + offset",
        "side": span.size,
        "offset": span.low,
        "reach": config.cell_reach,
        "half": int(config.region_radius),
        "bytes_per_cell": working_bytes(spans, network.encoder, network.decoder, inputs=network.inputs),
    }
    return {
        "image": "the channels that settings.image names, each stretched to 0..1 by itself, or colours all alike; "
        "resized as settings.image says, then mirrored at the bottom and the right to sides that are multiples of "
        "the stride",
        "lengths": "in pixels of the network, which are those of the resized image",
        "stride": network.stride,
        "buckets": [side for side, _ in (rounded_up((side, side), network.stride) for side in _BUCKETS)],
        **told,
        "platforms": PLATFORMS,
        "settings": settings,
        "versions": versions(),
    }


def _sides(network: UNet) -> tuple[SymbolicScope, Sequence[Any]]:
    """Returns symbols for the sides of images, and the scope that other symbols beside them belong to."""
    # Aligned corners need two units a side at the deepest level.
    scope = SymbolicScope(("rows >= 2", "columns >= 2") if network.align_corners else ())
    return scope, symbolic_shape(f"{network.stride}*rows, {network.stride}*columns", scope=scope)


def _channels(network: UNet) -> tuple[int, ...]:
    """Returns the axis of channels of images; those of a single channel have none."""
    return () if network.inputs == 1 else (network.inputs,)


def _shapes(avals: Sequence[Any]) -> list[dict[str, Any]]:
    """Returns shapes and types in words of JSON; symbols as text."""
    return [
        {"shape": [n if isinstance(n, int) else str(n) for n in aval.shape], "dtype": str(aval.dtype)}
        for aval in avals
    ]
