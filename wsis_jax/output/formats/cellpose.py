"""Writes label images in the files that Cellpose writes, for its window and for programs that read them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from skimage.segmentation import find_boundaries

from wsis_jax.core import replacing, write_text
from wsis_jax.io import write_labels
from wsis_jax.output.polygons import cell_outlines

_MOST_IN_PNG = np.iinfo(np.uint16).max


def write_masks(path: Path, labels: Int[np.ndarray, "height width"]) -> Path:
    """Writes a PNG of 16 bits, or above 65,535 cells a TIFF, and returns the file.

    The path is that of the PNG, in Cellpose's way `<name>_cp_masks.png`; the TIFF has its name.
    """
    if labels.max() > _MOST_IN_PNG:
        write_labels(path.with_suffix(".tif"), labels)
        return path.with_suffix(".tif")
    with replacing(path) as temporary:
        Image.fromarray(labels.astype(np.uint16)).save(temporary, format="PNG")
    return path


def write_outlines(path: str | Path, labels: Int[np.ndarray, "height width"]) -> None:
    """Writes a line for each cell, by rising label: x,y,x,y,… of its outermost pixels along its outline.

    Of a cell of several parts it is the one with the longest outline, and holes are not told, as Cellpose has it.
    """
    lines = [",".join(map(str, pixels[:, ::-1].ravel().tolist())) for pixels in cell_outlines(labels).values()]
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_seg(
    path: str | Path,
    name: str,
    image: Float[np.ndarray, "height width"],
    labels: Int[np.ndarray, "height width"],
    colours: Float[np.ndarray, "labels 3"],
) -> None:
    """Writes a `_seg.npy`, which Cellpose's window opens beside the image, and without it too.

    It is a pickled dictionary, because that is what Cellpose reads; nothing here ever reads one.

    Args:
        path: the file, in Cellpose's way `<name>_seg.npy`.
        name: of the image.
        image: its grey values.
        labels: 0 for background, from 1 on cells.
        colours: of the labels 1, 2, 3, …, 0..1.
    """
    kind = np.uint16 if labels.max() <= _MOST_IN_PNG else np.uint32
    masks = labels.astype(kind)
    pixels = np.bincount(labels.ravel())[1:]
    # As Cellpose measures it: of a disc with the area of a cell, the median.
    diameter = float(np.median(2 * np.sqrt(pixels[pixels > 0] / np.pi))) if pixels.any() else np.nan
    content = {
        "masks": masks,
        "outlines": np.where(find_boundaries(labels, mode="inner", connectivity=1), masks, 0).astype(kind),
        "colors": np.round(colours * 255).astype(np.uint8),
        "ismanual": np.zeros(len(pixels), bool),
        "filename": name,
        "img": image,
        "chan_choose": [0, 0],
        # No flows were computed; with these, the window leaves the masks as they are.
        "flows": [[], [], [], [], [[]]],
        "manual_changes": [],
        "diameter": diameter,
    }
    if pixels.any():
        content["est_diam"] = diameter  # which the window would print
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.array(content, dtype=object), allow_pickle=True)
