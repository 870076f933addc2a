"""Cells as the GeoJSON that QuPath imports, and others that read GeoJSON."""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from wsis_jax.core import write_text
from wsis_jax.output.cell_table import Columns
from wsis_jax.output.polygons import Polygon, cell_polygons


def write_features(path: str | Path, features: Iterable[str]) -> None:
    """Writes a FeatureCollection of features, such as those of `cell_features`."""
    lines = ",\n".join(features)  # a cell a line, so that one can look at it
    write_text(path, f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n')


def cell_features(
    labels: Int[np.ndarray, "height width"], table: Columns, *, name: str, corner: tuple[int, int] = (0, 0)
) -> list[str]:
    """Returns a feature for each cell as JSON, by rising label.

    A geometry is the exact outline along pixel edges, with holes, in QuPath's coordinates: (x, y), where (0, 0) is
    the corner of the image and not the centre of a pixel. A feature is a `cell` of QuPath, named by its label; its
    measurements are its row of the table, as far as these are known numbers. The same cells make the same bytes.

    Args:
        labels: 0 for background, any other number for a cell.
        table: a row for each cell, as `measure_cells` returns it.
        name: of the image; the identity of a cell is made of it and the label.
        corner: (row, column) where in the image `labels` begins.
    """
    numbers = {key: values.tolist() for key, values in table.items() if key not in ("label", "touches_border")}
    measurements = {
        label: {key: float(f"{values[row]:.6g}") for key, values in numbers.items() if np.isfinite(values[row])}
        for row, label in enumerate(table["label"].tolist())
    }
    features = (
        _feature(polygons, f"wsis_jax {name} {label}", label, measurements[label])
        for label, polygons in cell_polygons(labels, corner=corner).items()
    )
    return [json.dumps(feature, separators=(",", ":"), allow_nan=False) for feature in features]


def _feature(polygons: list[Polygon], identity: str, label: int, measurements: dict[str, float]) -> dict[str, Any]:
    """Returns a cell as an object of GeoJSON."""
    parts = [[_ring(ring) for ring in (polygon.exterior, *polygon.holes)] for polygon in polygons]
    kind, coordinates = ("Polygon", parts[0]) if len(parts) == 1 else ("MultiPolygon", parts)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, identity)),
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "cell", "name": str(label), "measurements": measurements},
    }


def _ring(ring: Int[np.ndarray, "corners 2"]) -> list[list[int]]:
    """Returns the (x, y) of a ring, its first corner once more at its end."""
    points = ring[:, ::-1].tolist()
    return [*points, points[0]]
