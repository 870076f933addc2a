"""Our folders of the Cell Tracking Challenge, judged by an independent program of the challenge's makers."""

import numpy as np
import pytest
from ctc_metrics.scripts.evaluate import evaluate_sequence
from ctc_metrics.scripts.validate import validate_sequence

from wsis_jax.cli import main
from wsis_jax.io.ctc import read_ctc_points
from wsis_jax.io.label_file import read_labels
from wsis_jax.io.point_file import read_points
from wsis_jax.metrics import centroids, match_labels, match_points, pool_scores
from wsis_jax.output.formats.ctc import writing_ctc


@pytest.fixture(scope="module")
def scenes(draw_small):
    return [draw_small(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, scenes, write_ctc_scenes):
    folder = tmp_path_factory.mktemp("dataset")
    write_ctc_scenes(folder, scenes)
    return folder


def judge(dataset, out, images) -> dict[str, float]:
    """Writes label images as results, and returns the program's scores of them."""
    frames = read_ctc_points(dataset / "01")
    names = [frame.image.stem for frame in frames]
    with writing_ctc(out, names) as write:
        for name, labels in zip(names, images, strict=True):
            write(name, labels)
    assert validate_sequence(str(out), threads=1) == {"Valid": 1}
    scores = evaluate_sequence(str(out), str(dataset / "01_GT"), ["Valid", "SEG", "DET"], threads=1)
    assert scores["Valid"] == 1
    return scores


def spoil(labels: np.ndarray, seed: int) -> np.ndarray:
    """Shifts all cells, loses one, merges two, halves one and adds one that is none."""
    rng = np.random.default_rng(seed)
    labels = np.roll(labels, rng.integers(-3, 4, 2), axis=(0, 1))
    lost, one, other, halved = rng.permutation(np.arange(1, 7))[:4]
    labels[labels == lost] = 0
    labels[labels == one] = other
    rows, columns = np.nonzero(labels == halved)
    upper = rows < np.median(rows)
    labels[rows[upper], columns[upper]] = 20
    row, column = np.argwhere(labels == 0)[rng.integers(np.count_nonzero(labels == 0))]
    labels[row, column] = 30
    return labels


def test_the_truth_is_valid_and_perfect(dataset, scenes, tmp_path):
    scores = judge(dataset, tmp_path / "01_RES", [scene.labels for scene in scenes])
    assert (scores["SEG"], scores["DET"]) == (1, 1)


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_imperfect_masks_are_ours(dataset, scenes, tmp_path, seed):
    images = [spoil(scene.labels, 10 * seed + frame) for frame, scene in enumerate(scenes)]
    scores = judge(dataset, tmp_path / "01_RES", images)
    truths = [scene.labels for scene in scenes]
    ours = pool_scores(
        [match_labels(labels, truth) for labels, truth in zip(images, truths, strict=True)],
        [
            match_points(centroids(labels), centroids(truth), distance=5)
            for labels, truth in zip(images, truths, strict=True)
        ],
    )
    assert 0.1 < ours.seg < 0.9
    assert 0.1 < ours.det < 0.9
    assert scores["SEG"] == pytest.approx(ours.seg, abs=1e-12)
    assert scores["DET"] == pytest.approx(ours.det, abs=1e-12)


def test_the_commands_go_from_a_ctc_folder_to_a_ctc_folder(dataset, scenes, tiny_run, tmp_path, capsys):
    sequence, out = dataset / "01", tmp_path / "01_RES"
    main(["points", "--ctc", str(sequence), "--out", str(tmp_path / "points")])
    for frame, scene in enumerate(scenes):
        points = read_points(tmp_path / "points" / f"t{frame:03d}.csv")[0]
        np.testing.assert_allclose(points, centroids(scene.labels), atol=0.006)
    command = ["segment", str(tiny_run.folder), str(sequence), "--format", "ctc", "--out", str(out)]
    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"mask{i:03d}.tif" for i in range(3)),
        "res_track.txt",
    ]
    assert validate_sequence(str(out), threads=1) == {"Valid": 1}
    scores = evaluate_sequence(str(out), str(dataset / "01_GT"), ["Valid", "SEG", "DET"], threads=1)
    pairs = [(read_labels(out / f"mask{i:03d}.tif"), scene.labels) for i, scene in enumerate(scenes)]
    ours = pool_scores(
        [match_labels(*pair) for pair in pairs],
        [match_points(centroids(mask), centroids(truth), distance=5) for mask, truth in pairs],
    )
    assert ours.seg > 0.4
    assert scores["SEG"] == pytest.approx(ours.seg, abs=1e-12)
    assert scores["DET"] == pytest.approx(ours.det, abs=1e-12)
    assert main(command) == 2  # labels would no longer be unique
    assert "the folder holds results already" in capsys.readouterr().err
