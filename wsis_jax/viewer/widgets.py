"""The widgets: one segments an image layer, one trains on the points clicked in image layers.

Their work is done in a thread beside the viewer, with buttons to start and stop it, a progress bar, and errors as
one sentence.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, LineEdit, Select
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points
from napari.utils.notifications import show_info
from psygnal import Signal

from wsis_jax.core import MissingFile, UserError
from wsis_jax.network import packaged_models
from wsis_jax.viewer.layers import Shown, pixels_of, points_by_step, result_layers, shown_step, steps_of

if TYPE_CHECKING:
    from wsis_jax.core import Config


from collections.abc import Callable
from functools import partial

from magicgui.widgets import Label, ProgressBar, PushButton
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_warning
from superqt.utils import ensure_main_thread

from wsis_jax.core import EXPECTED_ERRORS, sentence

ShowProgress = Callable[[int, int, str], None]
"""Called in the thread of the work with the number of steps done, the number of all steps, and a line of text.

Raises KeyboardInterrupt if the user asked to stop.
"""

Finish = Callable[[], None]
"""Called in the end in the thread of the viewer, which alone may touch its layers."""


def _show_warning(warned: tuple[Any, ...]) -> None:
    """Shows a warning of the work; warnings that libraries have for programmers are of other classes."""
    if warned[1] is UserWarning:
        show_warning(str(warned[0]))


class Work:
    """One piece of work at a time, and its widgets.

    Attributes:
        widgets: buttons, bar and text, to be put into a container.
        run, stop_button: the buttons.
        status: the line of text.
    """

    def __init__(self, verb: str, prepare: Callable[[], Callable[[ShowProgress], Finish]]) -> None:
        """Makes the widgets.

        Args:
            verb: on the button that starts it.
            prepare: called in the thread of the viewer when that is pressed; returns the work, which is called in
                a thread of its own and returns what finishes it. `EXPECTED_ERRORS` that either raises are shown in
                a sentence; other errors are raised in the thread of the viewer.
        """
        self._prepare, self._worker = prepare, None
        self.run, self.stop_button = PushButton(text=verb), PushButton(text="Stop", enabled=False)
        self._bar, self.status = ProgressBar(value=0, max=1, visible=False), Label(value="")
        buttons = Container(widgets=[self.run, self.stop_button], layout="horizontal", labels=False)
        self.widgets = [buttons, self._bar, self.status]
        self.run.changed.connect(self.start)
        self.stop_button.changed.connect(self.stop)
        self._gone = False
        self._bar.native.destroyed.connect(self._forget)

    @property
    def running(self) -> bool:
        """Whether the work is being done or finished."""
        return self._worker is not None

    def start(self) -> None:
        """Starts the work, unless it is being done."""
        if self.running:
            return
        try:
            work = self._prepare()
        except EXPECTED_ERRORS as error:
            show_error(sentence(error))
            return
        finishes: list[Finish] = []

        def show(done: int, total: int, text: str) -> None:
            self._show(done, total, text)
            if worker.abort_requested:
                raise KeyboardInterrupt

        def run() -> None:
            try:
                finishes.append(work(show))
            except Exception as error:
                finishes.append(partial(self._fail, error))

        worker: Any = create_worker(run)
        # `finished`, since a worker that was stopped does not emit `returned`.
        worker.finished.connect(lambda: self._end(finishes))
        worker.warned.connect(_show_warning)
        self._worker = worker
        self.run.enabled, self.stop_button.enabled = False, True
        self._bar.max, self._bar.visible = 0, True  # of unknown length: programs are compiled first
        self.status.value = "getting ready …"
        worker.start()

    def stop(self) -> None:
        """Asks the work to stop as soon as nothing is lost; napari does so, too, when it is closed."""
        if self._worker is not None:
            self.status.value = "stopping …"
            self._worker.quit()

    def _forget(self) -> None:
        """Stops the work of a widget that was closed."""
        self._gone = True
        if self._worker is not None:
            self._worker.quit()

    @ensure_main_thread
    def _show(self, done: int, total: int, text: str) -> None:
        if self._gone or self._worker is None or self._worker.abort_requested:
            return
        # A bar of a single step would stand still; without a length it moves.
        self._bar.max = total if total > 1 else 0
        self._bar.value = done if total > 1 else 0
        self.status.value = text

    def _fail(self, error: Exception) -> None:
        """Shows an error that the user can mend; raises any other, so that napari shows its traceback."""
        self.status.value = ""
        if not isinstance(error, EXPECTED_ERRORS):
            raise error
        show_error(sentence(error))

    def _end(self, finishes: list[Finish]) -> None:
        self._worker = None
        if self._gone:  # and the viewer perhaps, too
            return
        self.run.enabled, self.stop_button.enabled = True, False
        self._bar.visible, self.status.value = False, ""
        for finish in finishes:
            try:
                finish()
            except EXPECTED_ERRORS as error:
                self._fail(error)


_FOLDER = "a run folder …"
_SHOWN, _ALL = "the one shown", "all"


class Models:
    """Names of models and run folders, as `load_model` takes them, the newest last.

    Attributes:
        added: emitted with the name of a model that was trained or opened; the name may be known already.
    """

    added = Signal(str)

    def __init__(self) -> None:
        self._names = packaged_models()

    def names(self) -> list[str]:
        """Returns all of them."""
        return list(self._names)

    def add(self, run: str | Path) -> None:
        """Adds a run folder."""
        name = str(run)
        if name not in self._names:
            self._names.append(name)
        self.added.emit(name)


MODELS = Models()
"""The models that every widget of this napari offers: of the package, and trained or opened since it began."""


class SegmentWidget(Container):
    """Segments one plane of an image layer, or all, and adds labels, points, likelihood and winner map.

    Attributes:
        image: the layer.
        planes: which of its planes.
        model: a model of the package, or one that was trained or opened since napari began, or a folder.
        folder: that folder.
        settings: those to change, as in `detect.threshold=0.4`, separated by spaces.
        evidence: whether to add likelihood map and winner map.
        work: segments in a thread.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.image = ComboBox(label="image", choices=self._images)
        self.planes = ComboBox(label="planes", choices=[_SHOWN, _ALL], tooltip="of a stack, or of a film")
        self.model = ComboBox(label="model", choices=lambda widget: [*MODELS.names(), _FOLDER])
        self.folder = FileEdit(label="folder", mode=FileDialogMode.EXISTING_DIRECTORY, visible=False)
        self.settings = LineEdit(label="settings", tooltip="to change, such as: detect.threshold=0.4 cut.reach=4")
        self.evidence = CheckBox(text="add likelihood and contributions (hidden)", value=True)
        self.work = Work("Segment", self._prepare)
        chosen = [self.image, self.planes, self.model, self.folder, self.settings, self.evidence]
        super().__init__(widgets=[*chosen, *self.work.widgets])
        self.model.changed.connect(self._show_folder)
        MODELS.added.connect(self._choose)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self.reset_choices)

    def _images(self, widget: Any) -> list[Layer]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _show_folder(self, model: str) -> None:
        self.folder.visible = model == _FOLDER

    def _choose(self, model: str) -> None:
        """Takes the model that was trained or opened last."""
        self.model.reset_choices()
        self.model.value = model

    def _prepare(self) -> Any:
        """Reads layers and settings, which only the thread of the viewer may do, and returns the work."""
        image, evidence = self.image.value, self.evidence.value
        if image is None:
            raise UserError("there is no image layer to segment; open an image first")
        model = str(self.folder.value) if self.model.value == _FOLDER else self.model.value
        settings = _split(self.settings.value)
        if self.planes.value == _ALL:
            steps, first = steps_of(image), (0,) * (image.ndim - 2)
            lengths = pixels_of(image).shape[: image.ndim - 2]
        else:
            first = shown_step(image, self._viewer.dims.point)
            steps, lengths = [first], (1,) * len(first)
        shown = Shown.by(image)

        def work(show: ShowProgress) -> Finish:
            from wsis_jax.core import use_compilation_cache
            from wsis_jax.network import load_model
            from wsis_jax.segmentation import segment

            use_compilation_cache()
            results = {}
            try:
                show(0, len(steps), f"loading {model} …")
                loaded = load_model(model)
                config = loaded.config.override(settings)
                for done, step in enumerate(steps):
                    show(done, len(steps), f"segmenting {done + 1} of {len(steps)} …")
                    place = tuple(at - start for at, start in zip(step, first, strict=True))
                    results[place] = segment(loaded, shown.plane(step, config.image.channels), config=config)
            except KeyboardInterrupt:
                pass  # the planes done by then are shown

            def add_layers() -> None:
                if not results:
                    return
                for data in result_layers(results, image, first=first, lengths=lengths, evidence=evidence):
                    self._viewer.add_layer(Layer.create(*data))
                cells = sum(len(result.points) for result in results.values())
                self.work.status.value = f"{cells} cells in {len(results)} of {len(steps)} planes"

            return add_layers

        return work


class TrainWidget(Container):
    """Trains a model, which the segmenting widget then offers.

    Attributes:
        images: the image layers to learn from.
        points: points layers, one for each of them.
        run: the run folder that is written.
        settings: those to change, as in `train.steps=500`, separated by spaces.
        resume: whether to go on with the training in the folder.
        work: trains in a thread.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.images = Select(label="images", choices=lambda widget: self._layers(Image))
        self.points = Select(label="points", choices=lambda widget: self._layers(Points))
        self.run = FileEdit(label="run folder", mode=FileDialogMode.EXISTING_DIRECTORY, value=Path.cwd() / "run")
        self.settings = LineEdit(
            label="settings", tooltip="to change, such as: train.steps=500 image.channels=colours"
        )
        self.resume = CheckBox(text="go on with the training in that folder")
        self.work = Work("Train", self._prepare)
        super().__init__(
            widgets=[self.images, self.points, self.run, self.settings, self.resume, *self.work.widgets]
        )
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self.reset_choices)

    def _layers(self, kind: type[Layer]) -> list[Layer]:
        return [layer for layer in self._viewer.layers if isinstance(layer, kind)]

    def _prepare(self) -> Any:
        """Reads layers and settings, which only the thread of the viewer may do, and returns the work."""
        planes, points, names = [], [], []
        for image, own in pair_layers(self.images.value, self.points.value):
            for step, places in points_by_step(own, image).items():
                planes.append((Shown.by(image), step))
                points.append(places)
                names.append(", ".join([image.name, *(f"step {at}" for at in step)]))
        run, settings, resume = Path(str(self.run.value)), _split(self.settings.value), self.resume.value

        def work(show: ShowProgress) -> Finish:
            from wsis_jax.core import use_compilation_cache
            from wsis_jax.network import best_weights
            from wsis_jax.training import Callbacks, TrainingSet, train_on_set, training_report

            use_compilation_cache()
            config, stopped = _starting_config(settings), False
            images = [shown.plane(step, config.image.channels) for shown, step in planes]
            scores = ""

            def on_step(step: int, steps: int) -> None:
                show(step, steps, f"step {step} of {steps}{scores}")

            def on_metrics(metrics: dict[str, Any]) -> None:
                nonlocal scores
                shown = {"loss": "loss", "validation_loss": "held out", "f_measure": "F"}
                scores = "".join(f", {name} {metrics[key]:.3g}" for key, name in shown.items())

            try:
                data, callbacks = TrainingSet(images, points, names), Callbacks(on_step, on_metrics)
                train_on_set(data, config=config, run=run, resume=resume, callbacks=callbacks)
            except KeyboardInterrupt:
                stopped = True
            page = training_report(run)

            def offer_model() -> None:
                self.work.status.value = "stopped, and saved" if stopped else f"trained{scores}"
                self.resume.value = stopped
                if stopped:
                    show_info(f"{run}: the training is saved; tick “{self.resume.text}” to do so.")
                else:
                    show_info(f"{run}: the model is trained; {page} tells about it.")
                try:
                    best_weights(run)
                except MissingFile:
                    return  # it was stopped before its first validation
                MODELS.add(run)

            return offer_model

        return work


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


def _starting_config(settings: Sequence[str]) -> "Config":
    """Returns the settings of a training, of the small network where there is no accelerator."""
    import jax

    from wsis_jax.core import preset, small_network

    config = preset("default")
    return (small_network(config) if jax.default_backend() == "cpu" else config).override(settings)


def _split(settings: str) -> list[str]:
    """Returns settings that are separated by spaces."""
    try:
        return shlex.split(settings)
    except ValueError as error:
        raise UserError(f"the settings are not understood ({error}); write them as in train.steps=500") from error
