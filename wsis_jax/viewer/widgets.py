"""The widget that segments an image layer with a trained model."""

import shlex
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, LineEdit
from napari.components import ViewerModel
from napari.layers import Image, Layer

from wsis_jax.core.errors import UserError
from wsis_jax.viewer.layers import pixels_of, read_plane, result_layers, shown_step, steps_of
from wsis_jax.viewer.models import OFFERED
from wsis_jax.viewer.work import Ending, Tell, Work

_FOLDER = "a run folder …"
_SHOWN, _ALL = "the one shown", "all"


class SegmentWidget(Container):
    """Segments one plane of an image layer, or all, and adds labels, points and the evidence for them.

    Attributes:
        image: the layer.
        planes: which of its planes.
        model: a model of the package, or one that was trained or opened since napari began, or a folder.
        folder: that folder.
        settings: those to change, as in `detect.threshold=0.4`, separated by spaces.
        evidence: whether to add likelihood map and winner map.
        work: what is being done.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.image = ComboBox(label="image", choices=self._images)
        self.planes = ComboBox(label="planes", choices=[_SHOWN, _ALL], tooltip="of a stack, or of a film")
        self.model = ComboBox(label="model", choices=lambda widget: [*OFFERED.names(), _FOLDER])
        self.folder = FileEdit(label="folder", mode=FileDialogMode.EXISTING_DIRECTORY, visible=False)
        self.settings = LineEdit(label="settings", tooltip="to change, such as: detect.threshold=0.4 cut.reach=4")
        self.evidence = CheckBox(text="add likelihood and contributions (hidden)", value=True)
        self.work = Work("Segment", self._prepare)
        chosen = [self.image, self.planes, self.model, self.folder, self.settings, self.evidence]
        super().__init__(widgets=[*chosen, *self.work.widgets])
        self.model.changed.connect(self._show_folder)
        OFFERED.added.connect(self._choose)
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
        """Returns the work, with all that only the thread of the viewer may ask."""
        image, evidence = self.image.value, self.evidence.value
        if image is None:
            raise UserError("there is no image layer to segment; open an image first")
        model = str(self.folder.value) if self.model.value == _FOLDER else self.model.value
        settings = shlex.split(self.settings.value)
        if self.planes.value == _ALL:
            steps, first = steps_of(image), (0,) * (image.ndim - 2)
            lengths = pixels_of(image).shape[: image.ndim - 2]
        else:
            first = shown_step(image, self._viewer.dims.point)
            steps, lengths = [first], (1,) * len(first)
        pixels, rgb = pixels_of(image), image.rgb

        def work(tell: Tell) -> Ending:
            from wsis_jax.core import use_compilation_cache
            from wsis_jax.network import load_model
            from wsis_jax.segmentation import segment

            use_compilation_cache()
            results = {}
            try:
                tell(0, len(steps), f"loading {model} …")
                run = load_model(model)
                config = run.config.override(settings)
                for done, step in enumerate(steps):
                    tell(done, len(steps), f"segmenting {done + 1} of {len(steps)} …")
                    place = tuple(at - start for at, start in zip(step, first, strict=True))
                    results[place] = segment(run, read_plane(pixels, step, rgb=rgb), config=config)
            except KeyboardInterrupt:
                pass  # what there is by then is shown

            def show() -> None:
                if not results:
                    return
                for data in result_layers(results, image, first=first, lengths=lengths, evidence=evidence):
                    self._viewer.add_layer(Layer.create(*data))
                cells = sum(len(result.points) for result in results.values())
                self.work.said.value = f"{cells} cells in {len(results)} of {len(steps)} planes"

            return show

        return work
