"""What: draws the pictures of docs/gallery.md and of docs/microscopes.md, from drawn scenes alone.

    python -m experiments.gallery docs/gallery

One drawn scene is shown as four kinds of microscopes would show it, and cut at its clicks with the defaults. Then
it is segmented into every format, and the lines of Python that docs/gallery.md shows below each format are run:
what they leave in `picture` is its picture. Chromium draws the page of results, where it is installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from wsis_jax.cli import main as wsis
from wsis_jax.core import normalize_by
from wsis_jax.io import write_points
from wsis_jax.network import load_model
from wsis_jax.output import FORMATS, overlay, strip
from wsis_jax.segmentation import segment
from wsis_jax.synthetic import Scene, draw_scene

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"
_CELL, _NUCLEUS = 36.0, 16.0  # pixels: diameters in the scene
_HEIGHT, _COLOURS = 320, 256  # of the pictures: pixels, and different colours, so that they are small files
# Ruifrok and Johnston 2001: how much red, green and blue the two stains of H&E absorb.
_HAEMATOXYLIN, _EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def main(argv: Sequence[str] | None = None) -> None:
    """Draws all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=PAGE.parent / "gallery")
    folder = parser.parse_args(argv).folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    scene = draw_scene(3, shape=(256, 256), cells=26, diameter=_CELL, jitter=2.0)
    for name, picture in kinds(scene).items():
        save(folder / f"{name}.png", picture)
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        write_results(scene)
        for name, code in examples(PAGE.read_text(encoding="utf-8")).items():
            names: dict[str, np.ndarray] = {}
            exec(compile(code, f"{PAGE.name}: {name}", "exec"), names)
            save(folder / f"{name}.png", strip([(name, names["picture"])], height=_HEIGHT))
        picture_of_page(Path("found/report.html"), folder / "report.png")
    print(f"{folder}: {len(list(folder.glob('*.png')))} pictures")


def kinds(scene: Scene) -> dict[str, np.ndarray]:
    """Returns a picture for each kind of microscope: the image, and the cells that were cut out at the clicks."""
    seen = {
        "phase_contrast": ("generalist", scene.image, _CELL),
        "fluorescence": ("generalist", scene.nuclei, _NUCLEUS),
        "brightfield": ("generalist", (0.8 - 0.5 * scene.nuclei).astype(np.float32), _NUCLEUS),
        "histology": ("histology", stained(scene), _NUCLEUS),
    }
    pictures = {}
    for name, (model_name, image, diameter) in seen.items():
        model = load_model(model_name)
        config = model.config.for_diameter(diameter)
        points = scene.points.clip(0, np.array(scene.labels.shape) - 1.0)
        found = segment(model, image, config=config, points=points)
        shown = normalize_by(config.image, image)
        panels = [("image", overlay(shown, np.zeros_like(found.labels))), ("cells", overlay(shown, found.labels))]
        pictures[name] = strip(panels, height=_HEIGHT)
    return pictures


def stained(scene: Scene) -> Float[np.ndarray, "height width 3"]:
    """Returns a scene as stained tissue: purple nuclei in pink cells, 0..1."""
    bodies = ndimage.gaussian_filter((scene.labels > 0).astype(np.float64), 3)
    absorbed = scene.nuclei[..., None] * 1.6 * _HAEMATOXYLIN + (0.15 + 0.35 * bodies[..., None]) * _EOSIN
    return np.exp(-absorbed).astype(np.float32)


def write_results(scene: Scene) -> None:
    """Segments the cells at the clicks of a scene into every format, in the current folder."""
    for name in ("images", "points"):
        Path(name).mkdir()
    tifffile.imwrite("images/cells_000.tif", np.round(scene.image * 65_535).astype(np.uint16))
    write_points("points/cells_000.csv", scene.points.clip(0, np.array(scene.labels.shape) - 1.0))
    alone = [kind for kind, one in FORMATS.items() if one.opening]
    together = ",".join(kind for kind in FORMATS if kind not in alone)
    for out, chosen in {"found": together, **{kind: kind for kind in alone}}.items():
        words = ["--points", "points", "--diameter", str(_CELL), "--out", out, "--format", chosen]
        if wsis(["segment", "generalist", "images", *words]):
            raise RuntimeError(f"the drawn scene could not be written as {chosen}")


def examples(page: str) -> dict[str, str]:
    """Returns the code below the heading of each format of a page in Markdown."""
    found = re.findall(r"^### `(\w+)`\n(?:(?!^### ).)*?```python\n(.*?)```", page, flags=re.MULTILINE | re.DOTALL)
    return dict(found)


def save(path: Path, picture: np.ndarray) -> None:
    """Writes a picture with few colours."""
    Image.fromarray(picture).quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def picture_of_page(page: Path, path: Path) -> None:
    """Draws a page as a browser shows it, if there is one."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        return
    words = [browser, "--headless=new", "--disable-gpu", "--hide-scrollbars", "--window-size=900,800"]
    words += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    words += [f"--user-data-dir={Path('browser').resolve()}", f"--screenshot={path}"]
    subprocess.run([*words, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    save(path, np.asarray(Image.open(path).convert("RGB")))


if __name__ == "__main__":
    main()
