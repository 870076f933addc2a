"""A viewer without a screen, and ways to press its buttons and wait for its work."""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

# Where they are missing, each file of tests is skipped.
with warnings.catch_warnings(), suppress(ImportError):
    warnings.simplefilter("ignore")  # of the viewer's libraries
    from napari.components import ViewerModel
    from napari.utils.notifications import notification_manager
    from qtpy import QtWidgets


@pytest.fixture(scope="session")
def application() -> Any:
    """Qt's, without a screen."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def viewer(application) -> Any:
    """A viewer without its window, which needs a graphics card."""
    return ViewerModel()


@pytest.fixture
def said() -> Callable[[], list[str]]:
    """The messages of the notifications that a user sees meanwhile."""
    before = len(notification_manager.records)

    def messages() -> list[str]:
        return [one.message for one in notification_manager.records[before:]]

    return messages


@pytest.fixture
def stack(draw_small) -> np.ndarray:
    """Two planes, as large as those of `results`."""
    return np.stack([draw_small(seed).image for seed in (100, 102)])


@pytest.fixture
def segmenting(viewer, tiny_run) -> Any:
    """The widget that segments, with the tiny model chosen."""
    from wsis_jax.viewer.models import MODELS
    from wsis_jax.viewer.segmenting import SegmentWidget

    widget = SegmentWidget(viewer)
    MODELS.add(tiny_run.folder)
    assert widget.model.value == str(tiny_run.folder)
    return widget


@pytest.fixture(scope="session")
def finish(application) -> Any:
    """Lets the event loop turn until the work of a widget is done."""

    def turn(widget, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        end = time.monotonic() + 600
        while widget.work.running:
            QtWidgets.QApplication.processEvents()
            meanwhile()
            assert time.monotonic() < end, "the work does not end"
            time.sleep(0.002)

    return turn


@pytest.fixture(scope="session")
def press() -> Callable[[Any], None]:
    """Presses a button as the mouse does."""
    return lambda button: button.native.click()


@pytest.fixture(scope="module")
def results(tiny_run, draw_small, tmp_path_factory) -> Any:
    """A folder of results of two images, of which the second is less high, and what its files were made of."""
    import wsis_jax
    from wsis_jax.io.image_file import SourceImage
    from wsis_jax.output.formats import choose_formats

    folder, made = tmp_path_factory.mktemp("results"), {}
    kinds = ["labels", "overlay", "points", "table", "zarr", "contributions"]
    with choose_formats(kinds).writing(folder, ["a", "b"]) as write:
        for name, seed, height in (("a", 100, 64), ("b", 101, 48)):
            image = draw_small(seed).image[:height]
            made[name] = (image, wsis_jax.segment(tiny_run.model, image, sides=(64, 64)))
            write(SourceImage(name, image, image[None]), made[name][1])
    return folder, made
