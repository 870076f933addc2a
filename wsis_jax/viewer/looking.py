"""The widget that lists the cells to look at first, with a key each to go on, remove, add and divide."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from magicgui.widgets import ComboBox, Container, Label, PushButton
from napari.components import ViewerModel
from napari.layers import Labels, Layer, Points
from napari.layers.base import ActionType
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from wsis_jax.core import EXPECTED_ERRORS, Config, UserError, sentence
from wsis_jax.points import suggest_sigma
from wsis_jax.segmentation import CellEvidence, Doubt, cells_to_look_at, halves_of
from wsis_jax.viewer.corrections import save_corrections
from wsis_jax.viewer.layers import Step, places_in
from wsis_jax.viewer.marks import CHANGES, Made, mark_of, offered, plane_name
from wsis_jax.viewer.models import MODELS
from wsis_jax.viewer.outlining import Outlining, cut_edited, telling
from wsis_jax.viewer.panels import Panel
from wsis_jax.viewer.results import Results, count_edits, outlined_rows, results_of_image, results_with
from wsis_jax.viewer.segmenting import on_layers
from wsis_jax.viewer.work import Work

_SHOWN, _ALL = "the one shown", "all"
_MANY = 50  # planes: of more, only the one shown is looked through by itself
_LEAST_HEIGHT = 130  # of the list, in pixels of the screen
_CLOSE = 8.0  # usual diameters across what is shown of a cell, at least

_DONE = (ActionType.ADDED, ActionType.REMOVED, ActionType.CHANGED)

# Keys that no layer of images, labels or points has another use for.
NEXT, REMOVE, INSERT, DIVIDE = "n", "d", "i", "t"


class Place(NamedTuple):
    """A doubtful place, and the step of the cells that it is in."""

    step: Step
    doubt: Doubt

    def key(self) -> tuple[Any, ...]:
        """Returns what tells it from others, though the list is made anew."""
        return (*self.step, self.doubt.number, *(round(at) for at in self.doubt.point))


class LookWidget(Panel):
    """Lists the cells of a result that most need a look, and edits its points.

    Attributes:
        cells: the layer of cells.
        planes: of which planes.
        places: those that are listed, the most doubtful first.
        at: the place that is looked at; None before the first one.
        work: outlines the edited points again, in a thread.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.cells = ComboBox(label="cells", choices=lambda widget: _layers_of_cells(viewer))
        self.planes = ComboBox(label="planes", choices=[_SHOWN, _ALL], value=_ALL)
        self.places: list[Place] = []
        self.at: Place | None = None
        self._seen: set[tuple[Any, ...]] = set()
        self._watched: Points | None = None
        self._rows = QListWidget()
        self._rows.setWordWrap(True)
        self._rows.setMinimumHeight(_LEAST_HEIGHT)
        buttons = {
            f"Next ({NEXT.upper()})": self.next_cell,
            f"Remove ({REMOVE.upper()})": self.remove_cell,
            f"Add ({INSERT.upper()})": self.add_cell,
            f"Divide ({DIVIDE.upper()})": self.divide_cell,
        }
        self.buttons = [PushButton(text=text) for text in buttons]
        for button, act in zip(self.buttons, buttons.values(), strict=True):
            button.changed.connect(act)
        self._edited = Label(value="")
        self._edited.native.setWordWrap(True)
        self._edited.native.setMinimumWidth(200)
        self.work = Work({"Cut again": self._cut})
        rows = [
            Container(widgets=pair, layout="horizontal", labels=False)
            for pair in (self.buttons[:2], self.buttons[2:])
        ]
        super().__init__(widgets=[self.cells, self.planes, *rows, self._edited, *self.work.widgets])
        self.insert_native(2, self._rows)
        self.cells.changed.connect(self.list_places)
        self.planes.changed.connect(self.list_places)
        self._rows.itemClicked.connect(self._go_to_item)
        CHANGES.outlined.connect(self._take)
        on_layers(viewer, self)
        keys = {
            NEXT: self.next_cell,
            REMOVE: self.remove_cell,
            INSERT: self.add_at_cursor,
            DIVIDE: self.divide_cell,
        }
        for key, act in keys.items():
            viewer.bind_key(key, _pressed(act), overwrite=True)
        self._rows.destroyed.connect(partial(_release, viewer, tuple(keys)))
        self.list_places()

    # The list

    def _take(self, cells: Layer) -> None:
        """Lists the places of cells that were outlined."""
        if cells not in self._viewer.layers:
            return
        self.cells.reset_choices()
        if self.cells.value is cells:
            self.list_places()
        else:
            self.cells.value = cells

    def list_places(self, *_: Any) -> None:
        """Looks through the cells anew; places that were looked at come no more."""
        self.places, self.at = [], None
        results = self._results()
        if results is not None:
            self._watch(results.points)
            for step in self._steps(results):
                doubts = places_of(results, step)
                self.places += [Place(step, one) for one in doubts]
        self.places = [one for one in self.places if one.key() not in self._seen]
        self.places.sort(key=lambda one: -one.doubt.score)
        self._rows.clear()
        for place in self.places:
            item = QListWidgetItem(self._words(results, place) if results is not None else "")
            self._rows.addItem(item)
        self._tell_edits()

    def _watch(self, points: Points) -> None:
        """Saves and counts what is edited by hand, too."""
        if self._watched is not None:
            self._watched.events.data.disconnect(self._see_edit)
        self._watched = points
        points.events.data.connect(self._see_edit)

    def _see_edit(self, event: Any) -> None:
        results = None if self.work.gone else self._results()
        if results is not None and event.action in _DONE:
            self._edit(results)

    def _results(self) -> Results | None:
        return results_with(self._viewer, self.cells.value)

    def _steps(self, results: Results) -> list[Step]:
        """Returns the steps to look through; of many planes, without being asked, only that shown."""
        cells = results.cells
        lengths = cells.data.shape[:-2]
        if self.planes.value == _ALL and int(np.prod(lengths)) <= _MANY:
            return [tuple(map(int, step)) for step in np.ndindex(*lengths)]
        corner = cells.world_to_data(self._viewer.dims.point)[:-2]
        return [tuple(int(np.clip(round(float(at)), 0, n - 1)) for at, n in zip(corner, lengths, strict=True))]

    def _words(self, results: Results, place: Place) -> str:
        """Returns the line of a place."""
        doubt = place.doubt
        what = f"cell {doubt.number}" if doubt.number else "no cell"
        where = f"{plane_name(results.cells, place.step)}: " if place.step else ""
        return f"{where}{what}: {', '.join(doubt.reasons)}"

    # Going from one to the next

    def next_cell(self, *_: Any) -> None:
        """Goes to the place after the one that is looked at."""
        index = self.places.index(self.at) + 1 if self.at in self.places else 0
        if index < len(self.places):
            self.go_to(index)
        else:
            self._edited.value = f"that was all. {self._edits_in_words()}".strip()

    def go_to(self, index: int) -> None:
        """Goes to a place in the list: its plane is shown, and it is in the middle."""
        results = self._results()
        if results is None:
            return
        self.at = self.places[index]
        self._seen.add(self.at.key())
        self._rows.setCurrentRow(index)
        cells, viewer = results.cells, self._viewer
        world = cells.data_to_world((*self.at.step, *self.at.doubt.point))
        for axis, value in enumerate(world[:-2], start=viewer.dims.ndim - cells.ndim):
            viewer.dims.set_point(axis, float(value))
        viewer.scene.camera.center = (0.0, float(world[-2]), float(world[-1]))
        viewer.scene.camera.zoom = max(viewer.scene.camera.zoom, _zoom(results, self.at.step))
        nearest = self._nearest_point(results)
        results.points.selected_data = set() if nearest is None else {nearest}

    def _go_to_item(self, item: QListWidgetItem) -> None:
        self.go_to(self._rows.row(item))

    # Editing

    def remove_cell(self, *_: Any) -> None:
        """Removes the point of the cell that is looked at."""
        results, place = self._looked_at()
        nearest = self._nearest_point(results) if place is not None and place.doubt.number else None
        if results is None or nearest is None:
            self._say("there is no cell here to remove; go to one that is listed")
            return
        results.points.selected_data = set()
        results.points.remove([nearest])

    def add_cell(self, *_: Any) -> None:
        """Adds a point at a peak without a cell that is looked at, or at the second peak of a cell."""
        results, place = self._looked_at()
        if results is None or place is None or (place.doubt.number and place.doubt.second is None):
            self._say(f"put the mouse on a cell and press {INSERT.upper()}")
            return
        where = place.doubt.point if not place.doubt.number else place.doubt.second
        self._add(results, place.step, np.array([where]))

    def add_at_cursor(self) -> None:
        """Adds a point where the mouse is."""
        results = self._results()
        if results is None:
            self._say("there are no outlined cells; segment an image first")
            return
        where = results.cells.world_to_data(self._viewer.cursor.position)
        step = tuple(round(float(at)) for at in where[:-2])
        height, width = results.shape(step)
        if not (-0.5 <= where[-2] < height - 0.5 and -0.5 <= where[-1] < width - 0.5):
            self._say("the mouse is not on the image")
            return
        self._add(results, step, np.array([where[-2:]]))

    def divide_cell(self, *_: Any) -> None:
        """Makes two cells of the one that is looked at: at its second peak, or at the centres of its halves."""
        results, place = self._looked_at()
        if results is None or place is None or not place.doubt.number:
            self._say("there is no cell here to divide; go to one that is listed")
            return
        if place.doubt.second is not None:
            self._add(results, place.step, np.array([place.doubt.second]))
            return
        halves = halves_of(results.labels(place.step), place.doubt.number)
        nearest = self._nearest_point(results)
        if not len(halves) or nearest is None:
            self._say("this cell has no two halves; add a point instead")
            return
        results.points.selected_data = set()
        results.points.remove([nearest])
        self._add(results, place.step, halves)

    def _looked_at(self) -> tuple[Results | None, Place | None]:
        self.work.problem.say("")
        return self._results(), self.at

    def _nearest_point(self, results: Results | None) -> int | None:
        """Returns the index of the point of the cell that is looked at; None where it has none any more."""
        if results is None or self.at is None or not len(results.points.data):
            return None
        place = (*self.at.step, *self.at.doubt.point)
        here = np.array(
            [results.cells.world_to_data(results.points.data_to_world(p)) for p in results.points.data]
        )
        distance = np.abs(here - place).max(axis=1)
        return int(distance.argmin()) if distance.min() < 0.01 else None

    def _add(self, results: Results, step: Step, places: np.ndarray) -> None:
        points, cells = results.points, results.cells
        points.add(np.array([points.world_to_data(cells.data_to_world((*step, *place))) for place in places]))
        points.selected_data = set()

    def _edit(self, results: Results) -> None:
        """Saves corrections, and offers to cut again."""
        try:
            save_corrections(results)
        except EXPECTED_ERRORS as error:
            self._say(sentence(error))
        self._tell_edits()

    def _say(self, text: str) -> None:
        self.work.problem.say(text)

    def _edits_in_words(self) -> str:
        results = self._results()
        edited = "" if results is None else count_edits(results.edits())
        return f"{edited}: press “Cut again”" if edited else ""

    def _tell_edits(self) -> None:
        self._edited.value = self._edits_in_words() or f"{len(self.places)} to look at"

    # Cutting again

    def _cut(self) -> Any:
        results = self._results()
        if results is None:
            raise UserError("there are no outlined cells; segment an image first")
        made: Made = mark_of(results.cells)["made"]
        if not made.model:
            made = made._replace(model=MODELS.chosen)
        return telling(
            cut_edited(Outlining(self._viewer, self._image_of(results), made), results.points), self.work
        )

    def _image_of(self, results: Results) -> Any:
        """Returns the image layer of cells: the one that they were made of, or else the only one."""
        from napari.layers import Image

        images = offered(self._viewer, Image)
        for image in images:
            if any(one.cells is results.cells for one in results_of_image(self._viewer, image)):
                return image
        if not images:
            raise UserError(f"{results.cells.name}: there is no image layer to outline them in; open the image")
        return images[0]


def _pressed(act: Any) -> Any:
    """Returns what a key of the viewer calls."""
    return lambda viewer: act()


def _release(viewer: ViewerModel, keys: Sequence[str], *_: Any) -> None:
    """Frees the keys of a widget that was closed."""
    with suppress(AttributeError):  # the viewer is gone, too
        for key in keys:
            viewer.bind_key(key, None)


def _layers_of_cells(viewer: ViewerModel) -> list[Labels]:
    found = [results_with(viewer, one) for one in viewer.layers if mark_of(one).get("part") == "cells"]
    return [one.cells for one in found if one is not None]


def _zoom(results: Results, step: Step) -> float:
    """Returns the zoom at which a cell can be judged: some of them fill the canvas."""
    areas = np.bincount(results.labels(step).ravel())[1:]
    areas = areas[areas > 0]
    usual = 2 * float(np.sqrt(np.median(areas) / np.pi)) if len(areas) else 40.0
    return 600 / (_CLOSE * usual * float(results.cells.scale[-1]))


def places_of(results: Results, step: Step) -> list[Doubt]:
    """Returns the doubtful places of a plane, from what the layers tell."""
    outlined = results.outlined(step)
    if not len(outlined.points) and "likelihood" not in results.evidence:
        return []
    scores = {name: _told(results, name, outlined.numbers, step) for name in ("score", "confidence")}
    likelihood = results.evidence.get("likelihood")
    shown = None if likelihood is None else np.asarray(likelihood.data[step], np.float32)
    if shown is not None and results.cells.metadata.get("shapes"):
        height, width = results.shape(step)  # of a stack, in pixels of the image
        shown = shown[:height, :width]
    evidence = CellEvidence(
        outlined.labels, outlined.points, outlined.numbers, scores["score"], scores["confidence"], shown
    )
    made: Made = mark_of(results.cells)["made"]
    threshold = Config().detect.threshold if made.threshold is None else made.threshold
    return cells_to_look_at(evidence, threshold=threshold, sigma=made.sigma or _sigma(results))


def _told(results: Results, name: str, numbers: np.ndarray, step: Step) -> np.ndarray:
    """Returns what the table of the points says of cells; NaN where it says nothing."""
    features = results.points.features
    if name not in features or "label" not in features:
        return np.full(len(numbers), np.nan)
    here = (np.round(places_in(results.points, results.cells)[:, :-2]) == step).all(axis=1)
    known = dict(zip(features["label"][here].astype(int), features[name][here].astype(float), strict=True))
    return np.array([known.get(int(number), np.nan) for number in numbers])


def _sigma(results: Results) -> float:
    """Returns the sigma of the likelihood map in pixels of the image, by the spacing of the cells."""
    rows = outlined_rows(results.cells)
    steps = np.unique(rows[:, :-3], axis=0)
    try:
        return suggest_sigma([rows[(rows[:, :-3] == step).all(axis=1), -3:-1] for step in steps])
    except UserError:
        return 5.0
