"""Writes metrics.json: what StarDist and py-ctcmetrics say of the scenes of `draw_scene`.

Needs `pip install stardist py-ctcmetrics` in an environment of its own, then

    python tests/golden/make_metrics.py

Takes seconds. The tests import `draw_scene` from here and need numpy alone.
"""

import importlib.metadata
import json
import pathlib
import tempfile

import numpy as np

SEEDS = tuple(range(12))
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


def draw_scene(seed, *, size=96, cells=24):
    """Returns (labels, masks): discs, and a copy with cells moved, lost, cut, joined, shrunk and invented.

    Labels are not contiguous and in random order. Seed 0 has no prediction.
    """
    random = np.random.default_rng(seed)
    grid = np.indices((size, size))

    def disc(centre, radius):
        return np.hypot(*(grid - centre[:, None, None])) <= radius

    labels, masks = np.zeros((2, size, size), np.uint16)
    true_ids, ids = 1 + random.permutation(5 * cells)[:cells], 1 + random.permutation(9 * cells)[: 3 * cells]
    for cell in range(cells):
        centre, radius = random.uniform(0, size, 2), random.uniform(3, 11)
        masks[disc(centre, radius)] = true_ids[cell]
        fate = random.choice(["same", "move", "lose", "cut", "join", "shrink"], p=[0.2, 0.3, 0.1, 0.15, 0.1, 0.15])
        moved = centre + (random.normal(0, 2, 2) if fate == "move" else 0)
        if fate != "lose":
            shape = disc(moved, radius * (0.7 if fate == "shrink" else 1))
            labels[shape] = ids[max(cell - 1, 0) if fate == "join" else cell]
            if fate == "cut":
                labels[shape & (grid[1] > centre[1])] = ids[cells + cell]
        if random.uniform() < 0.1:
            labels[disc(random.uniform(0, size, 2), 4)] = ids[2 * cells + cell]
    return (np.zeros_like(labels) if seed == 0 else labels), masks


def _cell_tracking_challenge(frames):
    """Returns SEG and DET of the frames together, each frame (labels, masks)."""
    import tifffile
    from ctc_metrics.metrics import det, seg
    from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations, match

    matches = []
    with tempfile.TemporaryDirectory() as folder:
        for labels, masks in frames:
            paths = [pathlib.Path(folder, name) for name in ("truth.tif", "result.tif")]
            for path, image in zip(paths, (masks, labels), strict=True):
                tifffile.imwrite(path, image)
            matches.append(match(*map(str, paths)))
    true_ids, ids, mapped_true, mapped, ious = map(list, zip(*matches, strict=True))
    counts = count_acyclic_graph_correction_operations(None, None, true_ids, ids, mapped_true, mapped)
    return {"seg": seg(true_ids, ious), "det": det(**counts)}


def _stardist(frames):
    """Returns AP at each threshold and PQ at 0.5 of the frames together."""
    from stardist.matching import matching_dataset

    found, true = [labels for labels, _ in frames], [masks for _, masks in frames]
    matches = matching_dataset(true, found, thresh=THRESHOLDS, by_image=False, show_progress=False)
    return {"ap": [float(m.accuracy) for m in matches], "pq": float(matches[0].panoptic_quality)}


def main():
    scenes = {str(seed): draw_scene(seed) for seed in SEEDS}
    groups = {seed: [scene] for seed, scene in scenes.items()} | {"all": list(scenes.values())}
    packages = ("stardist", "py-ctcmetrics", "numpy", "scipy", "scikit-learn")
    golden = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "scores": {name: _cell_tracking_challenge(group) | _stardist(group) for name, group in groups.items()},
    }
    text = json.dumps(golden, indent=1)
    pathlib.Path(__file__).with_name("metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
