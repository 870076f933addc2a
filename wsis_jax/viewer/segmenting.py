"""The widget that segments an image layer, and outlines again the points that were edited."""

import shlex
from pathlib import Path
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, FloatSpinBox, LineEdit, PushButton
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points
from qtpy.QtWidgets import QFileDialog

from wsis_jax.core import EXPECTED_ERRORS, UserError, in_short, sentence
from wsis_jax.viewer.clicks import layers_of_clicks
from wsis_jax.viewer.layers import pixels_of, shown_step, steps_of
from wsis_jax.viewer.marks import CHANGES, Made, mark_of, offered
from wsis_jax.viewer.models import MODELS
from wsis_jax.viewer.outlining import Outlining, cut_edited, telling
from wsis_jax.viewer.panels import Panel
from wsis_jax.viewer.reading import layers_of_folder, prefer_here
from wsis_jax.viewer.results import Place, count_edits, create, outline_when_added, results_with
from wsis_jax.viewer.work import Work

_SHOWN, _ALL = "the one shown", "all"


def diameter_box(unset: str) -> FloatSpinBox:
    """Returns the field of the diameter of the cells in pixels; at 0 it shows what holds then."""
    box = FloatSpinBox(label="cell diameter", value=0, min=0, max=40_000, step=1)
    box.native.setSpecialValueText(unset)
    box.native.setSuffix(" pixels")
    return box


def split_settings(settings: str) -> list[str]:
    """Returns settings that are separated by spaces.

    Raises:
        UserError: for a quotation that does not end.
    """
    try:
        return shlex.split(settings)
    except ValueError as error:
        raise UserError(f"the settings are not understood ({error}); write them as in train.steps=500") from error


def on_layers(viewer: ViewerModel, widget: Container) -> None:
    """Lets a widget offer the layers that there are."""
    outline_when_added(viewer)
    for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
        event.connect(widget.reset_choices)


class SegmentWidget(Panel):
    """Segments one plane of an image layer, or all; outlines again the cells of edited points.

    Attributes:
        image: the layer.
        planes: which of its planes.
        points: the points whose cells *Cut again* outlines.
        model: a model of the package, or one that was trained or opened.
        diameter: of the cells, in pixels; 0 as the model learned them.
        settings: those to change, as in `detect.threshold=0.4`, separated by spaces.
        evidence: whether to add likelihood map and winner map.
        work: segments, or cuts again, in a thread.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.image = ComboBox(label="image", choices=lambda widget: offered(viewer, Image))
        self.planes = ComboBox(label="planes", choices=[_SHOWN, _ALL], tooltip="of a stack, or of a film")
        self.points = ComboBox(label="points", choices=lambda widget: offered(viewer, Points), nullable=True)
        self.points.tooltip = "“Cut again” outlines exactly these: add, move and remove points first"
        self.model = ComboBox(label="model", choices=lambda widget: MODELS.names(), value=MODELS.chosen)
        self.open = PushButton(
            text="Open folder …", tooltip="the results of wsis segment, or the run of a training"
        )
        self.diameter = diameter_box("as the model learned")
        self.settings = LineEdit(label="settings", tooltip="to change, such as: detect.threshold=0.4 cut.reach=4")
        self.evidence = CheckBox(text="add likelihood and contributions (hidden)", value=True)
        self.work = Work({"Segment": self._segment, "Cut again": self._cut})
        self._warned = ""
        chosen = [self.image, self.planes, self.points, self.model, self.open]
        chosen += [self.diameter, self.settings, self.evidence]
        super().__init__(widgets=[*chosen, *self.work.widgets])
        self.open.changed.connect(self._ask_for_folder)
        self.model.changed.connect(self._remember)
        MODELS.added.connect(self._choose)
        CHANGES.outlined.connect(self._take_points)
        on_layers(viewer, self)

    def _remember(self, model: str | None) -> None:
        if model:
            MODELS.chosen = model

    def _choose(self, model: str) -> None:
        """Takes the model that was trained or opened last."""
        self.model.reset_choices()
        self.model.value = model

    def _take_points(self, cells: Layer) -> None:
        """Takes the points of cells that were outlined here."""
        results = results_with(self._viewer, cells) if cells in self._viewer.layers else None
        if results is not None:
            self.points.reset_choices()
            self.points.value = results.points

    def _ask_for_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self.native, "Open a folder of results or a run"):
            self.open_folder(Path(folder))

    def open_folder(self, folder: Path) -> None:
        """Opens a folder of results, whose layers are added, or a run, whose model is chosen.

        napari then opens it without a question where it is dropped.
        """
        self.work.problem.say("")
        try:
            layers = layers_of_folder(folder)
            clicks, closed = layers_of_clicks(self._viewer, folder)
        except EXPECTED_ERRORS as error:
            self.work.problem.say(sentence(error))
            return
        for data in [*layers, *clicks]:
            self._viewer.add_layer(create(data))
        prefer_here(folder)
        self.work.status.value = f"opened {folder.name}"
        if closed:
            self.work.problem.say(
                f"{folder}: its clicks are in {in_short(closed, 3)}; open these images, and then this folder "
                "again, to see the clicks"
            )

    def _outlining(self) -> Outlining:
        """Returns what to outline with; only the thread of the viewer may read it from layers and widgets."""
        image = self.image.value
        if image is None:
            raise UserError("there is no image layer to segment; open an image first")
        if not self.model.value:
            raise UserError("there is no model; train one, or open the folder of a run")
        settings = tuple(split_settings(self.settings.value))
        made = Made(self.model.value, self.diameter.value or None, settings)
        return Outlining(self._viewer, image, made, self.evidence.value)

    def _segment(self) -> Any:
        what = self._outlining()
        image = what.image
        if self.planes.value == _ALL:
            steps, first = steps_of(image), (0,) * (image.ndim - 2)
            lengths = tuple(pixels_of(image).shape[: image.ndim - 2])
        else:
            first = shown_step(image, self._viewer.dims.point)
            steps, lengths = [first], (1,) * len(first)
        self._check_edits(what, steps)
        return telling(what.detect(steps, Place(first, lengths)), self.work)

    def _check_edits(self, what: Outlining, steps: list[Any]) -> None:
        """Refuses, once, to lose points that were edited."""
        there = what.results(steps)
        edits = {} if there is None else there[0].edits()
        edited = count_edits(edits)
        if there is None or not edited or self._warned == f"{mark_of(there[0].cells)['group']} {edited}":
            self._warned = ""
            return
        self._warned = f"{mark_of(there[0].cells)['group']} {edited}"
        raise UserError(
            f"{there[0].points.name}: {edited} since the cells were outlined; press “Cut again” to outline "
            "exactly these points, or “Segment” once more to detect all cells anew and lose them"
        )

    def _cut(self) -> Any:
        what = self._outlining()
        if self.points.value is None:
            raise UserError("there is no layer of points to outline cells at; segment first, or click the cells")
        return telling(cut_edited(what, self.points.value), self.work)
