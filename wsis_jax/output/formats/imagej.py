"""Writes the regions of interest (ROIs) that ImageJ and Fiji open in their ROI manager."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from wsis_jax.core import replacing
from wsis_jax.output.polygons import Polygon, cell_polygons

if TYPE_CHECKING:
    from roifile import ImagejRoi

# Operations on a path, as Java's PathIterator numbers them.
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date of a ZIP file: the same cells make the same bytes


def write_rois(path: str | Path, labels: Int[np.ndarray, "height width"]) -> None:
    """Writes a ZIP file of a ROI for each cell, named by its label, by rising label.

    A ROI holds exactly the pixels of its cell. It is a polygon along their edges, or a composite where the cell
    has holes or several parts. Without cells, the file is an empty ZIP file. ImageJ wants its name to end in .zip.
    """
    cells = cell_polygons(labels)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for label, polygons in cells.items():
            entry = zipfile.ZipInfo(f"{label}.roi", _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, _roi(polygons, str(label)).tobytes())


def _roi(polygons: list[Polygon], name: str) -> "ImagejRoi":
    """Returns the ROI of a cell."""
    from roifile import ROI_TYPE, ImagejRoi

    if len(polygons) == 1 and not polygons[0].holes:
        roi = ImagejRoi.frompoints(polygons[0].exterior[:, ::-1], name=name)
        roi.roitype = ROI_TYPE.POLYGON
        # frompoints counts its greatest corner as a pixel of the box.
        roi.bottom, roi.right = polygons[0].exterior.max(axis=0).tolist()
        return roi
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.holes)]
    path = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
    corners = np.concatenate(rings)
    roi = ImagejRoi()
    roi.name, roi.roitype, roi.multi_coordinates, roi.shape_roi_size = name, ROI_TYPE.RECT, path, len(path)
    (roi.top, roi.left), (roi.bottom, roi.right) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return roi


def _path(ring: Int[np.ndarray, "corners 2"]) -> np.ndarray:
    """Returns a ring as a path of operations."""
    operations = np.full(len(ring), _LINE)
    operations[0] = _MOVE
    return np.append(np.column_stack([operations, ring[:, ::-1]]).ravel(), _CLOSE)
