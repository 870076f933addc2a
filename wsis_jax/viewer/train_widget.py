"""The widget that trains a model on image layers and the points clicked in them."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, Container, FileEdit, LineEdit, Select
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points
from napari.utils.notifications import show_info

from wsis_jax.core import MissingFile, UserError
from wsis_jax.viewer.layers import pixels_of, points_by_step, read_plane
from wsis_jax.viewer.models import OFFERED
from wsis_jax.viewer.work import Ending, Tell, Work

if TYPE_CHECKING:
    from wsis_jax.core import Config


class TrainWidget(Container):
    """Trains a model, which the segmenting widget then offers.

    Attributes:
        images: the image layers to learn from.
        points: points layers, one for each of them.
        run: the run folder that is written.
        settings: those to change, as in `train.steps=500`, separated by spaces.
        resume: whether to go on with the training in the folder.
        work: what is being done.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.images = Select(label="images", choices=lambda widget: self._layers(Image))
        self.points = Select(label="points", choices=lambda widget: self._layers(Points))
        self.run = FileEdit(label="run folder", mode=FileDialogMode.EXISTING_DIRECTORY, value=Path.cwd() / "run")
        self.settings = LineEdit(
            label="settings", tooltip="to change, such as: train.steps=500 likelihood.sigma=6"
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
        """Returns the work, with all that only the thread of the viewer may ask."""
        planes, points, names = [], [], []
        for image, own in pair_layers(self.images.value, self.points.value):
            for step, places in points_by_step(own, image).items():
                planes.append((pixels_of(image), step, image.rgb))
                points.append(places)
                names.append(", ".join([image.name, *(f"step {at}" for at in step)]))
        run, settings, resume = Path(str(self.run.value)), shlex.split(self.settings.value), self.resume.value

        def work(tell: Tell) -> Ending:
            from wsis_jax.core import use_compilation_cache
            from wsis_jax.network import best_weights
            from wsis_jax.training import train, training_report

            use_compilation_cache()
            images = [read_plane(pixels, step, rgb=rgb) for pixels, step, rgb in planes]
            scores = ""

            def on_step(step: int, steps: int) -> None:
                tell(step, steps, f"step {step} of {steps}{scores}")

            def on_metrics(metrics: dict[str, Any]) -> None:
                nonlocal scores
                shown = {"loss": "loss", "validation_loss": "held out", "f_measure": "F"}
                scores = "".join(f", {name} {metrics[key]:.3g}" for key, name in shown.items())

            config, stopped = _starting_config(settings), False
            try:
                train(
                    images,
                    points,
                    config=config,
                    run=run,
                    resume=resume,
                    names=names,
                    on_step=on_step,
                    on_metrics=on_metrics,
                )
            except KeyboardInterrupt:
                stopped = True
            page = training_report(run)

            def tell_of_it() -> None:
                self.work.said.value = "stopped, and saved" if stopped else f"trained{scores}"
                self.resume.value = stopped
                if stopped:
                    show_info(f"{run}: the training is saved; tick “{self.resume.text}” to do so.")
                else:
                    show_info(f"{run}: the model is trained; {page} tells about it.")
                try:
                    best_weights(run)
                except MissingFile:
                    return  # it was stopped before its first validation
                OFFERED.add(run)

            return tell_of_it

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
