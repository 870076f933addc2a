"""Results among the layers of a viewer: which belong together, what was outlined, and what was edited since.

The layer of cells knows the points that it was outlined from, in its own pixels (`outlined` in its mark).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points
from napari.utils.colormaps import CyclicLabelColormap

from wsis_jax.core import Segmentation, UserError
from wsis_jax.segmentation import Edits, Outlined, Recut, confidence_of, edits_of
from wsis_jax.viewer.layers import LayerData, Shown, Step, dot_size, placement, places_in, points_by_step
from wsis_jax.viewer.marks import Made, mark_of, marked, new_group, offered

_OUTLINED = ("cells", "so far")  # parts of which outlines are shown
_CONTOUR = 2  # pixels
# Of outlines: bright. Among the colours that napari gives labels are dark ones, which nobody sees on an image.
_COLOURS = ("#ff5252", "#ffd740", "#69f0ae", "#40c4ff", "#e040fb", "#ffab40", "#b2ff59", "#18ffff", "#ff80ab")

DOTS: dict[str, Any] = {"face_color": "yellow", "border_color": "black"}


def create(data: LayerData) -> Layer:
    """Returns the layer of what a function that makes layers gives."""
    layer = Layer.create(*data)
    show_outlines(layer)
    return layer


def show_outlines(layer: Layer) -> None:
    """Shows cells by their outlines, if the layer is of cells that the plugin made: filled ones hide the image."""
    if isinstance(layer, Labels) and mark_of(layer).get("part") in _OUTLINED and not mark_of(layer).get("shown"):
        layer.contour, layer.opacity = _CONTOUR, 1.0
        colours = _COLOURS if mark_of(layer)["part"] == "cells" else ("white",)
        layer.colormap = CyclicLabelColormap(colors=["transparent", *colours])
        mark_of(layer)["shown"] = True


def outline_when_added(viewer: ViewerModel) -> None:
    """Lets a viewer show cells by their outlines; napari takes no such wish from a reader."""
    viewer.layers.events.inserted.connect(_show_added)


def _show_added(event: Any) -> None:
    show_outlines(event.value)


class Results(NamedTuple):
    """The layers of a result."""

    cells: Labels
    points: Points
    evidence: dict[str, Layer]  # likelihood, contributions and winners, as far as they are there

    def shape(self, step: Step) -> tuple[int, int]:
        """Returns (height, width) of the image of a plane; smaller ones of a stack are continued by zeros."""
        shapes = self.cells.metadata.get("shapes")
        height, width = shapes[step[0]] if shapes and len(step) == 1 else self.cells.data.shape[-2:]
        return int(height), int(width)

    def labels(self, step: Step) -> np.ndarray:
        """Returns the labels of a plane."""
        height, width = self.shape(step)
        return plane_of(self.cells, step)[:height, :width]

    def outlined(self, step: Step) -> Outlined:
        """Returns the cells of a plane as they were outlined."""
        rows = outlined_rows(self.cells)
        own = rows[(rows[:, : len(step)] == step).all(axis=1)]
        return Outlined(self.labels(step), own[:, -3:-1], own[:, -1].astype(np.int64))

    def points_now(self) -> dict[Step, Float64[np.ndarray, "_ 2"]]:
        """Returns the points of now, by step of the cells."""
        return points_by_step(self.points, self.cells)

    def edits(self) -> dict[Step, Edits]:
        """Returns how points were edited since the cells were outlined, by step; only steps with an edit."""
        now, rows = self.points_now(), outlined_rows(self.cells)
        steps = {*now, *(tuple(map(int, row)) for row in np.unique(rows[:, :-3], axis=0))}
        found = {}
        for step in sorted(steps):
            before = rows[(rows[:, : len(step)] == step).all(axis=1), -3:-1]
            edits = edits_of(before, now.get(step, np.empty((0, 2))))
            if edits.any:
                found[step] = edits
        return found


class Place(NamedTuple):
    """Where layers of results lie on that of the image.

    Attributes:
        first: the step of the image where the layers begin.
        lengths: how many steps they have on each axis.
    """

    first: Step
    lengths: Step


def result_layers(
    results: Mapping[Step, Segmentation], image: Image, place: Place, *, evidence: bool, made: Made
) -> list[LayerData]:
    """Returns the layers of segmented planes: points over outlines over the evidence for them.

    Args:
        results: of each step, counted from `place.first`; at least one. Smaller ones are continued by zeros.
        image: the layer that was segmented.
        place: of the layers on it; a step without a result has no cell.
        evidence: whether to show likelihood map, contributions and who won them, too.
        made: what they were made with.
    """
    one, group = next(iter(results.values())), new_group()
    shape, small = one.labels.shape, one.detection.likelihood.shape
    ratio = (shape[0] / small[0], shape[1] / small[1])
    here, there = placement(image, place.first), placement(image, place.first, ratio)

    def stack(part: Any) -> np.ndarray:
        parts = {step: part(result) for step, result in results.items()}
        sides = np.max([plane.shape for plane in parts.values()], axis=0)
        values = np.zeros((*place.lengths, *sides), part(one).dtype)
        for step, plane in parts.items():
            values[step][: plane.shape[0], : plane.shape[1]] = plane
        return values

    def named(part: str, title: str = "") -> dict[str, Any]:
        return {"name": f"{image.name} {title or part}", "metadata": marked(part, group)}

    layers: list[LayerData] = []
    if evidence:
        hidden = {**there, "visible": False}
        bright = {**hidden, "blending": "additive", "colormap": "magma"}
        likelihood = stack(lambda result: result.detection.likelihood)
        value = stack(lambda result: result.winner.value)
        owner = stack(lambda result: result.winner.owner)
        layers += [
            (likelihood, {**bright, **named("likelihood"), "contrast_limits": (0, 1)}, "image"),
            (value, {**bright, **named("contributions")}, "image"),
            (owner, {**hidden, **named("winners")}, "labels"),
        ]
    numbers = {step: np.arange(1, len(result.points) + 1) for step, result in results.items()}
    rows = np.concatenate([rows_of(step, result.points, numbers[step]) for step, result in results.items()])
    mark = marked("cells", group, image=str(image.unique_id), outlined=rows, made=made, first=place.first)
    labels = stack(lambda result: result.labels)
    layers.append((labels, {**here, "name": f"{image.name} cells", "metadata": mark}, "labels"))
    told = [features_of(result, numbers[step]) for step, result in results.items()]
    features = {name: np.concatenate([one[name] for one in told]) for name in told[0]}
    about = {
        **named("points", "detections"),
        "features": features,
        "feature_defaults": new_point_features(features),
        "size": dot_size([result.points for result in results.values()]),
    }
    layers.append((rows[:, :-1], {**here, **about, **DOTS}, "points"))
    return layers


def results_with(viewer: ViewerModel, layer: Layer | None) -> Results | None:
    """Returns the result that a layer belongs to; None if it is of none, or its cells or points are gone."""
    group = None if layer is None else mark_of(layer).get("group")
    if group is None:
        return None
    parts = {mark_of(other)["part"]: other for other in viewer.layers if mark_of(other).get("group") == group}
    if not isinstance(parts.get("cells"), Labels) or not isinstance(parts.get("points"), Points):
        return None
    evidence = {name: parts[name] for name in ("likelihood", "contributions", "winners") if name in parts}
    return Results(parts["cells"], parts["points"], evidence)


def results_of_image(viewer: ViewerModel, image: Image) -> list[Results]:
    """Returns the results that were made of an image layer."""
    group, found = mark_of(image).get("group"), []
    for layer in viewer.layers:
        mark = mark_of(layer)
        own = mark.get("image") == str(image.unique_id) or (group is not None and mark.get("group") == group)
        if mark.get("part") == "cells" and own:
            found.append(results_with(viewer, layer))
    return [one for one in found if one is not None]


def outlined_rows(cells: Labels) -> Float64[np.ndarray, "cells columns"]:
    """Returns a row for each outlined cell: its step, row and column in pixels of the layer, and its label."""
    rows = mark_of(cells).get("outlined")
    return np.empty((0, cells.ndim + 1)) if rows is None else np.asarray(rows, np.float64)


def rows_of(step: Step, points: np.ndarray, numbers: np.ndarray) -> Float64[np.ndarray, "cells columns"]:
    """Returns the rows of the cells of a plane, as `outlined_rows` does."""
    return np.c_[np.tile(np.array(step, float), (len(points), 1)), points, numbers]


def count_edits(edits: Mapping[Step, Edits]) -> str:
    """Returns how many points were added and removed, in words; empty where none was."""
    added = sum(len(one.added) for one in edits.values())
    removed = sum(len(one.removed) for one in edits.values())
    parts = [f"{added} added"] * bool(added) + [f"{removed} removed"] * bool(removed)
    return ", ".join(parts)


# Planes


def image_plane(viewer: ViewerModel, image: Image, results: Results, step: Step) -> tuple[Shown, Step]:
    """Returns the image layer, and its step, that a plane of cells is of.

    It is the layer given, or one that has the name of the image where the cells are those of several images.

    Raises:
        UserError: if neither is as large as the cells.
    """
    names, shape = results.cells.metadata.get("names"), results.shape(step)
    named = names[step[0]] if names and len(step) == 1 else None
    # An image of its own is taken by its name alone: others are often of the same size.
    alone = [one for one in offered(viewer, Image) if one.ndim == 2 and one.name == named]
    layers = [*alone, *([image] if image.ndim == results.cells.ndim else [])]
    for layer in layers:
        shown, there = Shown.by(layer), (0,) * (layer.ndim - 2)
        if layer.ndim == results.cells.ndim:
            corner = layer.world_to_data(results.cells.data_to_world((*step, 0, 0)))
            there = tuple(round(float(place)) for place in corner[:-2])
        sides = tuple(shown.pixels.shape[layer.ndim - 2 : layer.ndim])
        inside = all(0 <= at < length for at, length in zip(there, shown.pixels.shape, strict=False))
        padded = layer.metadata.get("names") is not None and all(np.array(sides) >= shape)
        if inside and (sides == shape or padded):
            return shown, there
    what = named or results.cells.name
    raise UserError(
        f"{what}: the cells are {shape[0]} × {shape[1]} pixels, and no chosen layer is their image; open the "
        "image as a layer of that name, or choose it"
    )


def plane_of(layer: Any, step: Step) -> np.ndarray:
    """Returns the values of a plane of a layer of one resolution."""
    return np.asarray(layer.data[step])


def put_plane(layer: Any, step: Step, plane: np.ndarray) -> None:
    """Replaces a plane of a layer, whose array may be lazy."""
    data = layer.data
    whole = np.zeros(data.shape[len(step) :], data.dtype)
    whole[: plane.shape[0], : plane.shape[1]] = plane
    if isinstance(data, np.ndarray):
        if not data.flags.writeable:
            layer.data = data = data.copy()
        data[step] = whole
    else:
        import dask.array

        parts = [data[: step[0]], dask.array.from_array(whole[None]), data[step[0] + 1 :]]
        layer.data = dask.array.concatenate(parts)
    layer.refresh()


def show_cells(results: Results, step: Step, cells: Segmentation | Recut, *, made: Made) -> None:
    """Puts the cells of a plane into the layers of a result, in place of those that they had there."""
    if isinstance(cells, Recut):
        found, numbers = cells.found, cells.numbers
    else:
        found, numbers = cells, np.arange(1, len(cells.points) + 1)
    mark = mark_of(results.cells)
    rows = outlined_rows(results.cells)
    others = rows[~(rows[:, : len(step)] == step).all(axis=1)]
    # Before the points change, so that nobody takes that for an edit.
    mark["outlined"] = np.concatenate([others, rows_of(step, cells.points, numbers)])
    mark["made"] = made
    put_plane(results.cells, step, cells.labels)
    evidence = {
        "likelihood": found.detection.likelihood,
        "contributions": found.winner.value,
        "winners": np.r_[0, numbers][found.winner.owner],
    }
    for name, layer in results.evidence.items():
        if layer.data.shape[-2:] == evidence[name].shape:
            put_plane(layer, step, evidence[name])
    _put_points(results, step, cells.points, features_of(found, numbers))


def features_of(found: Segmentation, numbers: Int64[np.ndarray, " cells"]) -> dict[str, np.ndarray]:
    """Returns what the points of cells tell."""
    return {
        "label": np.asarray(numbers, np.int64),
        "score": found.scores.astype(np.float64),
        "confidence": confidence_of(found),
    }


def _put_points(results: Results, step: Step, points: np.ndarray, features: dict[str, np.ndarray]) -> None:
    """Replaces the points of a plane; those that stay keep what else is known of them."""
    import pandas

    layer, cells = results.points, results.cells
    places = places_in(layer, cells)
    here = (np.round(places[:, :-2]) == step).all(axis=1)
    before = edits_of(places[here][:, -2:], points).before
    old = layer.features.reset_index(drop=True)
    kept = old[here].reset_index(drop=True).reindex(before).reset_index(drop=True).assign(**features)
    new = np.array([layer.world_to_data(cells.data_to_world((*step, *point))) for point in points])
    data = np.concatenate([layer.data[~here], new.reshape(-1, layer.ndim)])
    layer.selected_data = set()
    layer.data = data
    layer.features = pandas.concat([old[~here], kept], ignore_index=True)
    layer.feature_defaults = new_point_features(layer.features)


def new_point_features(features: Any) -> dict[str, Any]:
    """Returns what is known of a point that somebody adds, where these are the columns of others: nothing."""
    unknown: dict[str, Any] = {}
    for name, values in features.items():
        unknown[str(name)] = 0 if name == "label" else np.nan if values.dtype.kind in "fiub" else ""
    return unknown
