"""The widget that trains on the points of image layers, from nothing or on from a model."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, LineEdit, PushButton, Select
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points
from superqt.utils import ensure_main_thread

from wsis_jax.core import EXPECTED_ERRORS, MissingFile, UserError, sentence
from wsis_jax.network import best_weights, load_config
from wsis_jax.viewer.curve import Curve
from wsis_jax.viewer.layers import Shown, Step, placement, points_by_step, shown_step
from wsis_jax.viewer.marks import CHANGES, mark_of, marked, new_group, offered, plane_name
from wsis_jax.viewer.models import MODELS
from wsis_jax.viewer.panels import Panel
from wsis_jax.viewer.results import create, results_with
from wsis_jax.viewer.segmenting import diameter_box, on_layers, split_settings
from wsis_jax.viewer.work import Finish, ShowProgress, Work

if TYPE_CHECKING:
    from wsis_jax.core import Config

_NOTHING = "nothing: learn from these clicks alone"
_OUTLINED = 512  # sides, in pixels, of the part of an image whose outlines are shown as it learns


class Learning(NamedTuple):
    """What a training learns from, read from the layers in the thread of the viewer.

    Attributes:
        layers: the layer of each image.
        planes: its pixels, and its step.
        points: (row, column) of its cells.
        names: what to call it.
    """

    layers: list[Image]
    planes: list[tuple[Shown, Step]]
    points: list[np.ndarray]
    names: list[str]


class TrainWidget(Panel):
    """Trains a model, which the segmenting widget then offers.

    Attributes:
        images: the image layers to learn from.
        points: points layers, one for each of them.
        start: the model to start from, or nothing.
        diameter: of the cells, in pixels; 0 to measure it.
        run: the run folder; where it holds a training, the next number is taken: run, run-2, …
        settings: those to change, as in `train.steps=500`, separated by spaces.
        outlines: whether to show outlines as it learns.
        resume: whether to go on with the training in the folder.
        use: offers the model so far to the other widgets.
        work: trains in a thread.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.images = Select(label="images", choices=lambda widget: offered(viewer, Image))
        self.points = Select(label="points", choices=lambda widget: offered(viewer, Points))
        self.start = ComboBox(label="start from", choices=lambda widget: [_NOTHING, *MODELS.names()])
        self.diameter = diameter_box("measured")
        self.run = FileEdit(label="run folder", mode=FileDialogMode.EXISTING_DIRECTORY, value=Path.cwd() / "run")
        self.settings = LineEdit(
            label="settings", tooltip="to change, such as: train.steps=500 image.channels=colours"
        )
        self.outlines = CheckBox(text="show outlines as it learns", value=True)
        self.resume = CheckBox(text="go on with the training in that folder")
        self.work = Work({"Train": self._prepare})
        self.use = PushButton(text="Use the model so far", enabled=False)
        self.curve = Curve()
        chosen = [self.images, self.points, self.start, self.diameter, self.run, self.settings]
        super().__init__(widgets=[*chosen, self.outlines, self.resume, *self.work.widgets, self.use])
        self.insert_native(-1, self.curve)
        self._run: Path | None = None
        self.start.changed.connect(self._name_button)
        self.use.changed.connect(self._use)
        MODELS.added.connect(self._start_from)
        CHANGES.outlined.connect(self._take_results)
        on_layers(viewer, self)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._preselect)
        self._preselect()

    def _preselect(self, *_: Any) -> None:
        """Chooses what there is to choose: one image and one layer of points."""
        images, points = offered(self._viewer, Image), offered(self._viewer, Points)
        if len(images) == len(points) == 1 and not self.images.value and not self.points.value:
            self.images.value, self.points.value = images, points

    def _take_results(self, cells: Layer) -> None:
        """Takes what was outlined here: its image and points, and its model to start from."""
        results = results_with(self._viewer, cells) if cells in self._viewer.layers else None
        if results is None:
            return
        made = mark_of(cells)["made"]
        self.start.reset_choices()
        if made.model in self.start.choices:
            self.start.value = made.model
        images = [one for one in offered(self._viewer, Image) if str(one.unique_id) == mark_of(cells).get("image")]
        if images and set(self.images.value) <= set(images):
            self.images.value, self.points.value = images, [results.points]

    def _start_from(self, model: str) -> None:
        """Starts the next training from the model that was trained or opened last."""
        self.start.reset_choices()
        self.start.value = model

    def _name_button(self, start: str) -> None:
        self.work.run.text = "Train" if start == _NOTHING else "Train again"

    def _use(self) -> None:
        """Offers the model so far to the other widgets."""
        if self._run is None:
            return
        try:
            best_weights(self._run)
        except EXPECTED_ERRORS as error:  # it was stopped before its first validation
            self.work.problem.say(sentence(error))
            return
        MODELS.add(self._run)

    def _learning(self) -> Learning:
        learning = Learning([], [], [], [])
        for image, own in pair_layers(self.images.value, self.points.value):
            for step, places in points_by_step(own, image).items():
                learning.layers.append(image)
                learning.planes.append((Shown.by(image), step))
                learning.points.append(places)
                learning.names.append(plane_name(image, step))
        return learning

    def _prepare(self) -> Any:
        """Reads layers and settings, which only the thread of the viewer may do, and returns the work."""
        learning, settings = self._learning(), split_settings(self.settings.value)
        if self.diameter.value:
            settings.insert(0, f"image.diameter={self.diameter.value:g}")
        resume, run = self.resume.value, Path(str(self.run.value))
        if not resume:
            run = next_run(run)
            self.run.value = run
        start = None if self.start.value == _NOTHING else self.start.value
        self._run, self.use.enabled = run, False
        self.curve.clear("held out")
        watched = self._watched(learning) if self.outlines.value and learning.planes else None

        def config() -> "Config":
            return load_config(run).override(settings) if resume else starting_config(start, settings)

        return Training(self, learning, run, resume, config, watched)

    def _watched(self, learning: Learning) -> "Watched":
        """Returns the plane whose outlines are shown as it learns: the one shown, if it is learned from."""
        for index, (image, (_, step)) in enumerate(zip(learning.layers, learning.planes, strict=True)):
            if step == shown_step(image, self._viewer.dims.point):
                return Watched(index, image, step)
        return Watched(0, learning.layers[0], learning.planes[0][1])

    @ensure_main_thread
    def show_validation(self, metrics: dict[str, Any], checked: str) -> None:
        """Draws the figures of a validation; there is a model now."""
        if self.work.gone:
            return
        self.curve.checked = checked
        self.curve.add(metrics)
        self.use.enabled = True

    @ensure_main_thread
    def show_outlines(self, watched: "Watched", labels: np.ndarray, corner: tuple[int, int]) -> None:
        """Shows outlines of a part of a plane, in place of those of an earlier step."""
        if self.work.gone or watched.image not in self._viewer.layers:
            return
        name = f"{watched.image.name} outlines so far"
        old = [one for one in self._viewer.layers if mark_of(one).get("part") == "so far" and one.name == name]
        there = placement(watched.image, watched.step)
        start = watched.image.data_to_world([*watched.step, *corner])
        there["translate"] = watched.image.affine.inverse(start)
        data = labels.reshape((1,) * len(watched.step) + labels.shape)
        if old and old[0].data.shape == data.shape:
            old[0].data = data
            old[0].translate = there["translate"]
            return
        about = {**there, "name": name, "metadata": marked("so far", new_group())}
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(create((data, about, "labels")))
        self._viewer.layers.selection.active = active  # somebody may be clicking


class Watched(NamedTuple):
    """A plane whose outlines are shown as a training goes on."""

    index: int  # among the images that are learned from
    image: Image
    step: Step


class Training:
    """The work of a training; see `Work`."""

    def __init__(
        self,
        widget: TrainWidget,
        learning: Learning,
        run: Path,
        resume: bool,
        config: Callable[[], "Config"],
        watched: Watched | None,
    ) -> None:
        """Keeps what the thread of the work needs; `config` returns the settings."""
        self._widget, self._learning, self._run = widget, learning, run
        self._resume, self._config, self._watched = resume, config, watched
        self._steps = 0  # done now
        self._scores, self._checked = "", ""
        self._stopped = False
        self._page: Path | None = None

    def __call__(self, show: ShowProgress) -> Finish:
        """Trains until it is done or stopped, and writes the report."""
        from wsis_jax.core import use_compilation_cache
        from wsis_jax.training import Callbacks, TrainingSet, train_on_set, training_report

        use_compilation_cache()
        config, learning = self._config(), self._learning
        images = [shown.plane(step, config.image.channels) for shown, step in learning.planes]

        def on_step(step: int, steps: int) -> None:
            self._steps += 1
            show(step, steps, f"step {step} of {steps}{self._scores}")

        def on_metrics(metrics: dict[str, Any]) -> None:
            self._tell(metrics)
            if self._watched is not None and metrics["best_step"] == metrics["step"]:
                self._outline(images[self._watched.index], learning.points[self._watched.index], self._watched)

        try:
            data, callbacks = TrainingSet(images, learning.points, learning.names), Callbacks(on_step, on_metrics)
            train_on_set(data, config=config, run=self._run, resume=self._resume, callbacks=callbacks)
        except KeyboardInterrupt:
            self._stopped = True
        self._page = training_report(self._run)
        return self._finish

    def _tell(self, metrics: dict[str, Any]) -> None:
        """Tells the figures of a validation, and of which images they are."""
        from wsis_jax.training import load_facts

        if not self._checked:
            held = any(image["held_out"] for image in load_facts(self._run).get("images", []))
            self._checked = "held out" if held else "of training images"
        shown = {"loss": "loss", "validation_loss": self._checked, "f_measure": "F"}
        self._scores = "".join(f", {name} {metrics[key]:.3g}" for key, name in shown.items())
        self._widget.show_validation(metrics, self._checked)

    def _outline(self, image: np.ndarray, points: np.ndarray, watched: Watched) -> None:
        """Shows what the model so far outlines in the part of an image with the most points around."""
        from wsis_jax.network import load_model
        from wsis_jax.segmentation import segment

        corner = _corner_of_most(points, (image.shape[0], image.shape[1]))
        part = image[corner[0] : corner[0] + _OUTLINED, corner[1] : corner[1] + _OUTLINED]
        try:
            labels = segment(load_model(self._run), part).labels
        except EXPECTED_ERRORS:  # nothing to see is no reason to end a training
            return
        self._widget.show_outlines(watched, labels, corner)

    def _finish(self) -> None:
        """Says how it ended, and offers the model."""
        widget = self._widget
        widget.resume.value = self._stopped
        if self._stopped:
            widget.work.status.value = f"stopped, and saved in {self._run}; “{widget.resume.text}” goes on"
        elif not self._steps:
            widget.work.status.value = (
                f"nothing was trained: the training in {self._run} is finished; train again from its model, or "
                "with more train.steps"
            )
        else:
            widget.work.status.value = f"trained{self._scores}; {self._page} tells about it"
        try:
            best_weights(self._run)
        except MissingFile:
            return  # it was stopped before its first validation
        MODELS.add(self._run)


def starting_config(start: str | None, settings: Sequence[str]) -> "Config":
    """Returns the settings of a training: on from a model, or from nothing.

    From nothing, they are those of the small network where there is no accelerator.

    Raises:
        UserError: for settings that are not known, or that the model to start from cannot have.
    """
    import jax

    from wsis_jax.core import preset, small_network
    from wsis_jax.training import check_start, going_on

    if start is not None:
        config = going_on(start).override(settings)
        check_start(config)
        return config
    config = preset("default")
    return (small_network(config) if jax.default_backend() == "cpu" else config).override(settings)


def next_run(folder: Path) -> Path:
    """Returns a folder for a training: the one given, or the next number of its name where that holds one."""
    match = re.fullmatch(r"(.+)-([0-9]{1,6})", folder.name)
    name, number = (match[1], int(match[2])) if match else (folder.name, 1)
    while (folder / "weights").exists() or (folder / "state").exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    return folder


def _corner_of_most(points: np.ndarray, shape: tuple[int, int]) -> tuple[int, int]:
    """Returns the corner of a part of an image that is no larger than what is outlined, around its points."""
    middle = np.median(points, axis=0) if len(points) else np.array(shape) / 2
    row, column = np.clip(middle - _OUTLINED / 2, 0, np.maximum(np.array(shape) - _OUTLINED, 0)).astype(int)
    return int(row), int(column)


def pair_layers(images: Sequence[Image], points: Sequence[Points]) -> list[tuple[Image, Points]]:
    """Pairs image layers with points layers: one with one, or by names, of which a longer one is taken first.

    Raises:
        UserError: if a layer is missing or left over.
    """
    if not images or not points:
        missing = "image layer" if not images else "points layer"
        raise UserError(f"no {missing} is chosen to learn from; choose one in the list")
    if len(images) == len(points) == 1:
        return [(images[0], points[0])]
    pairs: dict[str, tuple[Image, Points]] = {}
    for own in points:
        alike = [image for image in images if own.name.startswith(image.name)]
        image = max(alike, key=lambda one: len(one.name), default=None)
        if image is None or image.name in pairs:
            raise UserError(
                f"{own.name}: it is not clear to which image these points belong; choose for each image one "
                "points layer whose name begins with that of the image, as in 'a' and 'a points'"
            )
        pairs[image.name] = (image, own)
    if lonely := [image.name for image in images if image.name not in pairs]:
        raise UserError(
            f"{lonely[0]}: no points layer is chosen whose name begins so; rename it, or leave this out"
        )
    return list(pairs.values())
