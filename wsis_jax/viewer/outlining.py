"""The work that outlines cells: those that a model detects, or exactly those of points that were edited."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points

from wsis_jax.core import Segmentation, UserError
from wsis_jax.viewer.corrections import save_corrections
from wsis_jax.viewer.layers import Shown, Step, pixels_of, points_by_step
from wsis_jax.viewer.marks import CHANGES, Made, mark_of, plane_name, set_mark
from wsis_jax.viewer.results import (
    Place,
    Results,
    count_edits,
    create,
    image_plane,
    result_layers,
    results_of_image,
    results_with,
    show_cells,
)
from wsis_jax.viewer.work import Finish, ShowProgress, Work


class Outlining(NamedTuple):
    """What is to be outlined, read from the layers in the thread of the viewer.

    Attributes:
        viewer: where results are shown.
        image: the layer.
        made: what with.
        evidence: whether new results show likelihood map, contributions and winners, too.
    """

    viewer: ViewerModel
    image: Image
    made: Made
    evidence: bool = True

    def detect(self, steps: Sequence[Step], place: Place) -> "Detecting":
        """Returns the work that detects and outlines the cells of planes of the image."""
        return Detecting(self, Shown.by(self.image), steps, place, self.results(steps))

    def results(self, steps: Sequence[Step]) -> tuple[Results, Step] | None:
        """Returns the result of the image, and the step where it begins, that has a place for all these planes."""
        for one in reversed(results_of_image(self.viewer, self.image)):
            first = tuple(mark_of(one.cells).get("first", (0,) * (one.cells.ndim - 2)))
            at = np.array(steps) - np.array(first)
            if one.cells.ndim == self.image.ndim and np.all((at >= 0) & (at < one.cells.data.shape[:-2])):
                return one, first
        return None


class Detecting:
    """The work of `Outlining.detect`; see `Work`."""

    def __init__(
        self,
        what: Outlining,
        shown: Shown,
        steps: Sequence[Step],
        place: Place,
        results: tuple[Results, Step] | None,
    ) -> None:
        self._what, self._shown, self._steps, self._place, self._results = what, shown, steps, place, results
        self._found: dict[Step, Segmentation] = {}
        self._made = what.made

    def __call__(self, show: ShowProgress) -> Finish:
        """Outlines the planes until it is stopped; those done by then are shown."""
        from wsis_jax.core import use_compilation_cache
        from wsis_jax.network import load_model
        from wsis_jax.segmentation import segment

        use_compilation_cache()
        made, steps = self._what.made, self._steps
        try:
            show(0, len(steps), f"loading {made.model} …")
            model = load_model(made.model)
            config = made.config(model.config)
            self._made = made.known(config)
            for done, step in enumerate(steps):
                show(done, len(steps), f"segmenting {done + 1} of {len(steps)} …")
                plane = self._shown.plane(step, config.image.channels)
                self._found[step] = segment(model, plane, config=config)
        except KeyboardInterrupt:
            pass
        return self._finish

    def _finish(self) -> None:
        if not self._found:
            return
        if self._results is not None:
            results, first = self._results
            for step, found in self._found.items():
                show_cells(results, _less(step, first), found, made=self._made)
        else:
            results = self._add()
        CHANGES.outlined.emit(results.cells)

    def _add(self) -> Results:
        found = {_less(step, self._place.first): one for step, one in self._found.items()}
        what = self._what
        layers = [
            create(data)
            for data in result_layers(found, what.image, self._place, evidence=what.evidence, made=self._made)
        ]
        for layer in layers:
            what.viewer.add_layer(layer)
        results = results_with(what.viewer, layers[-1])
        assert results is not None
        return results

    def summary(self) -> str:
        """Returns what was found, in words."""
        cells = sum(len(one.points) for one in self._found.values())
        where = "" if len(self._steps) == 1 else f" in {len(self._found)} of {len(self._steps)} planes"
        return f"{'1 cell' if cells == 1 else f'{cells} cells'}{where}"


def cut_edited(what: Outlining, points: Points) -> "Cutting":
    """Returns the work that outlines the points of a layer again: where they were edited, exactly as edited.

    Points of a layer of the user's own are outlined for the first time.

    Raises:
        UserError: if no point was edited, or there is none; if the image is not that of the cells.
    """
    results = results_with(what.viewer, points)
    if results is None:
        return _first_cut(what, points)
    edits = results.edits()
    if not edits:
        raise UserError(
            f"{points.name}: no point was added, moved or removed since the cells were outlined; edit the points, "
            "or segment again"
        )
    planes = [(*image_plane(what.viewer, what.image, results, step), step) for step in edits]
    return Cutting(what, results, planes)


def _first_cut(what: Outlining, points: Points) -> "Cutting":
    """Returns the work for points that no cell was outlined at yet: all are new, in a result without any cell."""
    clicked = points_by_step(points, what.image)
    if not clicked:
        raise UserError(f"{points.name}: has no point to outline a cell at; click the cells")
    return Cutting(what, points, [(Shown.by(what.image), step, step) for step in clicked])


class Cutting:
    """The work of `cut_edited`; see `Work`."""

    def __init__(
        self, what: Outlining, results: Results | Points, planes: Sequence[tuple[Shown, Step, Step]]
    ) -> None:
        """Reads what the thread of the work needs.

        Args:
            what: what is outlined.
            results: where the cells are, or a layer of points that has none yet.
            planes: image, its step and that of the cells.
        """
        self._what, self._results, self._planes = what, results, planes
        if isinstance(results, Results):
            now = results.points_now()
            self._before = {step: results.outlined(step) for _, _, step in planes}
            self._edited = count_edits(results.edits())
        else:
            now = points_by_step(results, what.image)
            self._before = {}
            self._edited = f"{len(results.data)} added"
        self._points = {step: now.get(step, np.empty((0, 2))) for _, _, step in planes}
        self._recut: dict[Step, Any] = {}
        self._made = what.made

    def __call__(self, show: ShowProgress) -> Finish:
        """Outlines the planes until it is stopped; those done by then are shown."""
        from wsis_jax.core import use_compilation_cache
        from wsis_jax.network import load_model
        from wsis_jax.segmentation import cut_again, segment

        use_compilation_cache()
        made, count = self._what.made, len(self._planes)
        try:
            show(0, count, f"loading {made.model} …")
            model = load_model(made.model)
            config = made.config(model.config)
            self._made = made.known(config)
            for done, (shown, image_step, step) in enumerate(self._planes):
                show(done, count, f"outlining {done + 1} of {count} …")
                plane, points = shown.plane(image_step, config.image.channels), self._points[step]
                if step in self._before:
                    before = self._before[step]
                    height, width = before.labels.shape
                    plane = plane[:height, :width]
                    self._recut[step] = cut_again(model, plane, before, points, config=config)
                else:
                    self._recut[step] = segment(model, plane, config=config, points=points)
        except KeyboardInterrupt:
            pass
        return self._finish

    def _finish(self) -> None:
        if not self._recut:
            return
        results = self._results if isinstance(self._results, Results) else self._add(self._results)
        for step, cells in self._recut.items():
            show_cells(results, step, cells, made=self._made)
        save_corrections(results)
        CHANGES.outlined.emit(results.cells)

    def _add(self, points: Points) -> Results:
        """Adds the layers of a first result, whose points are those of the user."""
        what = self._what
        lengths = tuple(pixels_of(what.image).shape[: what.image.ndim - 2])
        place = Place((0,) * len(lengths), lengths)
        *layers, _ = result_layers(self._recut, what.image, place, evidence=what.evidence, made=self._made)
        made = [create(data) for data in layers]
        set_mark(points, "points", mark_of(made[-1])["group"])
        at = what.viewer.layers.index(points)
        for layer in made:  # beneath the points
            what.viewer.layers.insert(at, layer)
            at += 1
        results = results_with(what.viewer, points)
        assert results is not None
        return results

    def summary(self) -> str:
        """Returns what was done, in words."""
        names = [plane_name(self._what.image, there) for _, there, step in self._planes if step in self._recut]
        where = names[0] if len(names) == 1 else f"{len(names)} planes"
        return f"outlined: {self._edited} in {where}"


def telling(outline: "Detecting | Cutting", to: Work) -> Callable[[ShowProgress], Finish]:
    """Returns work that outlines, and says in the end in the status of `to` what was done."""

    def work(show: ShowProgress) -> Finish:
        finish = outline(show)

        def finish_and_tell() -> None:
            finish()
            to.status.value = outline.summary()

        return finish_and_tell

    return work


def _less(step: Step, first: Step) -> Step:
    return tuple(at - start for at, start in zip(step, first, strict=True))
