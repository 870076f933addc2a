"""Settings that hold for every test, and a small trained model."""

import gc
import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # windows need no screen
# Compilation, not arithmetic, is what tests on small arrays take time for. XLA's older way to emit code takes
# half as long; an extra option that XLA does not know is ignored. To compile each program in one part saves an
# eighth of all time; jaxlib has this flag since 0.8 at least. A flag that jaxlib does not know would end Python.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
    + " --xla_cpu_parallel_codegen_split_count=1"
)
# Nobody reads where in Python an operation of a program comes from, and to write it down takes time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()  # commands that are tested leave nothing in the user's cache
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()  # nor what napari and its plugin remember

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

# Where other programs take the time, an example that needs milliseconds may need a second.
settings.register_profile("wsis", deadline=None)
settings.load_profile("wsis")
# Traced programs are millions of objects that live on: to go through them for garbage rarely is enough.
gc.set_threshold(50_000, 10, 10)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# The package is imported inside the fixtures: only after this file is read does jaxtyping watch its imports.


class TinyRun(NamedTuple):
    """A run folder, the model in it and the scenes it was trained on."""

    folder: Path
    model: Any
    scenes: list[Any]


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def tiny_config() -> Any:
    """The settings of a network that learns small drawn cells in seconds."""
    from wsis_jax import Config

    return Config().override(
        [
            "image.scale=1",
            "likelihood.sigma=3",
            "unet.encoder=[4,8,8]",
            "unet.decoder=[8,4]",
            "train.steps=80",
            "train.batch=2",
            "train.patch=64",
            "train.learning_rate=0.02",
            "train.warmup=10",
            "train.evaluate_every=40",
        ]
    )


@pytest.fixture(scope="session")
def draw_small() -> Any:
    """Draws a scene of small cells: `draw_small(seed, cells=6, shape=(64, 64))`."""
    from wsis_jax.synthetic import draw_scene

    def draw(seed: int, cells: int = 6, shape: tuple[int, int] = (64, 64)) -> Any:
        return draw_scene(seed, shape=shape, cells=cells, diameter=13.0)

    return draw


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny_config, draw_small) -> TinyRun:
    """A model trained just enough to find most small drawn cells."""
    from wsis_jax import train

    folder = tmp_path_factory.mktemp("tiny") / "run"
    scenes = [draw_small(seed, cells=6 if seed < 5 else 0) for seed in range(6)]
    run = train([s.image for s in scenes], [s.points for s in scenes], config=tiny_config, run=folder)
    return TinyRun(folder, run, scenes)


@pytest.fixture(scope="session")
def write_scene() -> Any:
    """Writes image, points and masks of a scene as `folder/{image,points,mask}/name.*`, as a user has them."""
    import tifffile

    from wsis_jax.io.label_file import write_labels
    from wsis_jax.io.point_file import write_points

    def write(folder: Path, name: str, scene: Any) -> None:
        for part in ("image", "points", "mask"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / "image" / f"{name}.tif", np.round(scene.image * 60_000).astype(np.uint16))
        write_points(folder / "points" / f"{name}.csv", scene.points)
        write_labels(folder / "mask" / f"{name}.tif", scene.labels)

    return write


@pytest.fixture(scope="session")
def write_ctc_scenes() -> Any:
    """Writes scenes as sequence 01 of a Cell Tracking Challenge dataset, their labels as markers and masks."""
    import tifffile

    def write(dataset: Path, scenes: Sequence[Any]) -> None:
        folders = [dataset / "01", dataset / "01_GT" / "TRA", dataset / "01_GT" / "SEG"]
        for folder in folders:
            folder.mkdir(parents=True)
        tracks: list[str] = []
        for frame, scene in enumerate(scenes):
            image = np.round(scene.image * 60_000).astype(np.uint16)
            labels = np.where(scene.labels, scene.labels + len(tracks), 0).astype(np.uint16)
            names = [f"t{frame:03d}", f"man_track{frame:03d}", f"man_seg{frame:03d}"]
            for folder, name, values in zip(folders, names, [image, labels, labels], strict=True):
                tifffile.imwrite(folder / f"{name}.tif", values)
            tracks += [f"{label} {frame} {frame} 0\n" for label in np.unique(labels[labels > 0])]
        (dataset / "01_GT" / "TRA" / "man_track.txt").write_text("".join(tracks))

    return write


@pytest.fixture(scope="session")
def phase_contrast() -> Path:
    """The folder of the model that comes with the package; fails where its weights are missing."""
    from wsis_jax.network.packaged import MODELS

    folder = MODELS / "phase-contrast"
    if not (folder / "config.json").is_file():
        pytest.fail(
            f"{folder} holds no trained model, which the package has to come with; train one as its model card "
            "says, then: python -m experiments.box_model RUN phase-contrast",
            pytrace=False,
        )
    return folder


@pytest.fixture
def unchecked():
    """Lets badly typed arguments reach the function's own checks, as they do outside of the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def cache_settings():
    """Puts the settings of the cache back afterwards."""
    names = [f"jax_persistent_cache_min_{name}" for name in ("compile_time_secs", "entry_size_bytes")]
    before = {name: getattr(jax.config, name) for name in ("jax_compilation_cache_dir", *names)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
