"""What: draws the picture of docs/microscopes.md, two kinds of microscopy cut at their clicks by the defaults.

    python -m experiments.microscopes docs/microscopes.png

A drawn scene is shown as phase contrast and as the fluorescence of its nuclei. The model of the package finds what
contributes to each click; nothing is set. Takes seconds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsis_jax.core import normalize_by
from wsis_jax.io import write_picture
from wsis_jax.network import load_model
from wsis_jax.output import overlay, strip
from wsis_jax.segmentation import segment
from wsis_jax.synthetic import draw_scene

_HEIGHT = 320  # pixels of each panel
_CELL, _NUCLEUS = 36.0, 16.0  # pixels: diameters in the scene


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the scenes, segments them and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/microscopes.png"))
    arguments = parser.parse_args(argv)
    model = load_model("generalist")
    scene = draw_scene(3, shape=(320, 320), cells=40, diameter=_CELL, jitter=2.0)
    panels = []
    for name, image, diameter in (("phase contrast", scene.image, _CELL), ("nuclei", scene.nuclei, _NUCLEUS)):
        config = model.config.for_diameter(diameter)
        points = scene.points.clip(0, np.array(image.shape) - 1.0)
        found = segment(model, image, config=config, points=points)
        shown = normalize_by(config.image, image)
        panels.append((f"{name}: cells at their clicks", overlay(shown, found.labels, found.points)))
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    write_picture(arguments.picture, strip(panels, height=_HEIGHT))
    print(f"{arguments.picture}: written")


if __name__ == "__main__":
    main()
