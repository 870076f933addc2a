"""The plugin of napari, without a screen: its manifest, its reader, its sample data and both of its widgets."""

import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the viewer's libraries
    napari = pytest.importorskip("napari", reason="napari is not installed", exc_type=ImportError)
    QtCore = pytest.importorskip("qtpy.QtCore", reason="Qt cannot be loaded", exc_type=ImportError)
    QtWidgets = pytest.importorskip("qtpy.QtWidgets", reason="Qt cannot be loaded", exc_type=ImportError)
    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.notifications import notification_manager

import wsis_jax
from wsis_jax.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def application():
    """Qt's, without a screen."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def viewer(application):
    """A viewer without its window, which needs a graphics card."""
    return ViewerModel()


@pytest.fixture
def said():
    """The messages of the notifications that a user sees meanwhile."""
    before = len(notification_manager.records)

    def messages() -> list[str]:
        return [one.message for one in notification_manager.records[before:]]

    return messages


def finish(widget, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Lets the event loop turn until the work of a widget is done."""
    end = time.monotonic() + 120
    while widget.work.running:
        QtWidgets.QApplication.processEvents()
        meanwhile()
        assert time.monotonic() < end, "the work does not end"
        time.sleep(0.002)


def shapes(layers) -> dict[str, tuple[int, ...]]:
    return {layer.name: np.shape(layer.data) for layer in layers}


def press(button) -> None:
    """Presses a button as the mouse does."""
    button.native.click()
