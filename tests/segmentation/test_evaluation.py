"""Evaluation of files: which are compared with which, and what the scores are called."""

import json

import numpy as np
import pytest

from wsis_jax.core import Faults
from wsis_jax.io.label_file import write_labels, write_picture
from wsis_jax.io.point_file import write_points
from wsis_jax.metrics import centroids
from wsis_jax.output.formats.imagej import write_rois
from wsis_jax.segmentation.evaluation import evaluate

KEYS = [
    *("f_measure", "precision", "recall", "mdice", "dice_one_to_one", "ap50", "ap", "pq", "aji", "seg", "det"),
    "cells",
]


def blocks(*corners: tuple[int, int]) -> np.ndarray:
    """Cells of 6 × 6 pixels in an image of 30 × 40, numbered from 1."""
    labels = np.zeros((30, 40), np.int32)
    for number, (row, column) in enumerate(corners, start=1):
        labels[row : row + 6, column : column + 6] = number
    return labels


TRUTH = {"a": blocks((2, 2), (12, 12)), "b": blocks((2, 30))}


@pytest.fixture
def folders(tmp_path):
    """Results as `wsis segment` writes them, all of them right, and masks."""
    for name, mask in TRUTH.items():
        write_labels(tmp_path / "result" / f"{name}_labels.tif", mask)
        write_picture(tmp_path / "result" / f"{name}_overlay.png", np.zeros((30, 40, 3), np.uint8))
        write_labels(tmp_path / "mask" / f"{name}.tif", mask)
    return tmp_path / "result", tmp_path / "mask"


def test_right_labels_have_full_scores(folders):
    scores = evaluate(*folders).to_dict()
    assert list(scores) == ["pooled", "images", "distance"]
    assert list(scores["images"]) == ["a", "b"]
    for row, cells in [(scores["pooled"], 3), (scores["images"]["a"], 2), (scores["images"]["b"], 1)]:
        assert list(row) == KEYS
        assert row["cells"] == cells
        assert {row[key] for key in KEYS[:-1]} == {1.0}
    assert json.loads(json.dumps(scores)) == scores


def test_pooled_scores_weigh_every_cell_the_same(folders):
    write_labels(folders[0] / "b_labels.tif", blocks())
    scores = evaluate(*folders)
    assert scores.images["a"].mdice == 1
    assert scores.images["b"].mdice == 0
    assert scores.pooled.mdice == pytest.approx(2 / 3)
    assert scores.pooled.recall == pytest.approx(2 / 3)


def test_the_points_saved_beside_the_labels_are_the_detections(folders):
    write_points(folders[0] / "a_points.csv", np.array([[4.5, 4.5], [28.0, 38.0], [20.0, 2.0]]))
    scores = evaluate(*folders)
    assert scores.images["a"].recall == 0.5
    assert scores.images["a"].precision == pytest.approx(1 / 3)
    assert scores.images["a"].mdice == 1
    assert scores.images["b"].f_measure == 1


def test_the_distance_decides_what_is_found(folders):
    write_points(folders[0] / "b_points.csv", np.array([[4.5, 26.5]]))  # 6 pixels from the centroid
    assert evaluate(*folders, distance=6.0).images["b"].f_measure == 1
    assert evaluate(*folders, distance=5.9).images["b"].f_measure == 0


def test_faults_of_all_files_are_told_at_once(folders, tmp_path):
    write_points(tmp_path / "points" / "a.csv", np.array([[4.0, 4.0], [14.0, 44.0]]))
    (tmp_path / "points" / "b.csv").write_text("x,y\n1,b\n")
    write_labels(folders[0] / "b_labels.tif", np.zeros((3, 4), np.int32))
    with pytest.raises(Faults) as info:
        evaluate(*folders, points=tmp_path / "points")
    first, second, third = info.value.sentences
    assert "a.csv: point 1 (counted from 0) at row 14, column 44 is outside the image of 30 rows" in first
    assert "b.csv: `b` in line 2, column y, is not a number" in second
    assert "b_labels.tif: is 3 × 4 pixels but" in third


def test_true_points_on_the_very_border_are_moved_inside(folders, tmp_path):
    for name in "ab":
        write_points(tmp_path / "points" / f"{name}.csv", np.array([[4.5, 4.5], [29.9, 33.0]]))
    write_points(folders[0] / "a_points.csv", np.array([[29.0, 33.0]]))
    with pytest.warns(UserWarning, match=r"\.csv: 1 point was less than a pixel outside of the image, and moved"):
        scores = evaluate(*folders, points=tmp_path / "points", distance=0.0)
    assert scores.images["a"].recall == 0.5


def test_true_points_may_be_rois(folders, tmp_path):
    for name, mask in TRUTH.items():
        write_rois(tmp_path / "points" / f"{name}.zip", mask)
    assert evaluate(*folders, points=tmp_path / "points", distance=0.01).pooled.f_measure == 1


def test_a_point_finds_a_cell_within_half_the_median_diameter_of_the_true_cells(folders):
    write_labels(folders[1] / "b.tif", np.where(np.arange(40) < 20, 1, 0) * np.ones((30, 1), np.int32))
    scores = evaluate(*folders)  # true cells of 36, 36 and 600 pixels; a disc of 36 is 6.77 pixels wide
    assert scores.distance == scores.to_dict()["distance"] == pytest.approx(3.385, abs=1e-3)
    assert scores.is_half_diameter
    write_points(folders[0] / "a_points.csv", np.array([[4.5, 7.8], [14.5, 18.0]]))  # 3.3 and 3.5 away
    assert evaluate(*folders).images["a"].recall == 0.5
    assert not evaluate(*folders, distance=10.0).is_half_diameter


def test_without_a_true_cell_the_distance_is_asked_for_where_it_counts(folders, tmp_path):
    for name in TRUTH:
        write_labels(folders[1] / f"{name}.tif", blocks())
    assert evaluate(*folders).pooled.precision == 0
    for name in TRUTH:
        write_points(tmp_path / "points" / f"{name}.csv", np.array([[4.0, 4.0]]))
    with pytest.raises(ValueError, match=r"^a: has true points, but no mask has a cell, .*; give --distance$"):
        evaluate(*folders, points=tmp_path / "points")
    assert evaluate(*folders, points=tmp_path / "points", distance=3.0).pooled.recall == 0.5


@pytest.mark.parametrize("end", ["_mask", "_masks", "_cp_masks", "_labels"])
def test_the_ends_of_names_of_masks_do_not_count(folders, tmp_path, end):
    for name, mask in TRUTH.items():
        write_labels(tmp_path / "ends" / f"{name}{end}.tif", mask)
        # An image beside its mask is not a mask.
        write_labels(tmp_path / "ends" / f"{name}.tif", blocks((20, 20)))
        write_points(tmp_path / "points" / f"{name}_points.csv", centroids(mask))
    scores = evaluate(folders[0], tmp_path / "ends", points=tmp_path / "points")
    assert list(scores.images) == ["a", "b"]
    assert (scores.pooled.mdice, scores.pooled.f_measure) == (1, 1)
    turned = evaluate(tmp_path / "ends", folders[1])
    assert list(turned.images) == ["a", "b"]
    assert turned.pooled.mdice == 1


def test_files_in_folders_are_compared_by_their_way_and_ends_do_not_count(tmp_path):
    for well, corner in (("A1", (2, 2)), ("A2", (12, 12))):
        mask = blocks(corner)
        write_labels(tmp_path / "result" / well / "img_labels.tif", mask)
        write_labels(tmp_path / "mask" / well / "img_mask.tif", mask)
        write_points(tmp_path / "points" / well / "img_points.csv", centroids(mask))
    scores = evaluate(tmp_path / "result", tmp_path / "mask", points=tmp_path / "points")
    assert list(scores.images) == ["A1/img", "A2/img"]
    assert (scores.pooled.mdice, scores.pooled.f_measure) == (1, 1)
    (tmp_path / "points" / "A2" / "img_points.csv").rename(tmp_path / "points" / "A2" / "image.csv")
    with pytest.raises(ValueError, match=r"^A2/img: has no point file .*; .*image\.csv has nearly that name$"):
        evaluate(tmp_path / "result", tmp_path / "mask", points=tmp_path / "points")


def test_two_results_of_one_name_are_refused(folders, tmp_path):
    for where in ("result", "mask"):
        write_labels(tmp_path / where / "more" / "a_mask.tif", TRUTH["a"])
    both = [[folder, folder / "more"] for folder in folders]
    with pytest.raises(ValueError, match=r"a_mask\.tif: another label image is called a, too; rename one"):
        evaluate(*both)


def test_true_points_take_the_place_of_the_centroids_of_the_masks(folders, tmp_path):
    write_points(tmp_path / "points" / "a.csv", np.array([[4.0, 4.0], [14.0, 15.0], [25.0, 35.0]]))
    write_points(tmp_path / "points" / "b.csv", np.array([[20.0, 5.0]]))
    scores = evaluate(*folders, points=tmp_path / "points")
    assert scores.images["a"].recall == pytest.approx(2 / 3)
    assert scores.images["b"].recall == 0


def test_one_result_one_mask_and_one_file_of_points_need_no_common_name(folders, tmp_path):
    write_points(tmp_path / "clicks.csv", np.array([[4.0, 4.0]]))
    scores = evaluate(folders[0] / "a_labels.tif", folders[1] / "b.tif", points=tmp_path / "clicks.csv")
    assert list(scores.images) == ["a"]
    assert scores.pooled.recall == 1
    assert scores.pooled.mdice == 0


def test_what_has_no_partner_is_left_out_with_a_warning(folders):
    write_labels(folders[0] / "c_labels.tif", TRUTH["b"])
    write_labels(folders[1] / "d.tif", TRUTH["b"])
    with pytest.warns(UserWarning, match="left out") as caught:
        scores = evaluate(*folders)
    assert [str(w.message).split(":")[0] for w in caught] == [
        str(folders[0] / "c_labels.tif"),
        str(folders[1] / "d.tif"),
    ]
    assert list(scores.images) == ["a", "b"]


def test_a_missing_file_of_points_is_named(folders, tmp_path):
    for name in ("a", "c"):
        write_points(tmp_path / "points" / f"{name}.csv", np.array([[4.0, 4.0]]))
    with pytest.raises(ValueError, match=r"^b: has no point file"):
        evaluate(*folders, points=tmp_path / "points")


def test_points_of_several_frames_are_refused(folders):
    (folders[0] / "b_points.csv").write_text("frame,x,y\n0,1,2\n1,1,2\n")
    with pytest.raises(ValueError, match=r"b_points\.csv: holds the points of 2 frames"):
        evaluate(*folders)


def test_images_of_different_sizes_are_refused(folders):
    write_labels(folders[1] / "b.tif", TRUTH["b"][:, 1:])
    with pytest.raises(ValueError, match=r"b_labels\.tif: is 30 × 40 pixels but .*b\.tif is 30 × 39"):
        evaluate(*folders)


def test_no_common_name_is_refused(folders, tmp_path):
    for name in ("x", "y"):
        write_labels(tmp_path / "other" / f"{name}.tif", TRUTH["a"])
    with pytest.raises(ValueError, match="name them alike"):
        evaluate(folders[0], tmp_path / "other")


def test_masks_of_cellpose_are_not_compared_beside_the_labels_themselves(folders):
    result, mask = folders
    alone = evaluate(result, mask).to_dict()
    write_labels(result / "a_cp_masks.tif", blocks((20, 20)))
    assert evaluate(result, mask).to_dict() == alone


def test_masks_of_all_cells_at_once_are_told_or_labelled(folders):
    result, mask = folders
    for name, labels in TRUTH.items():
        write_labels(mask / f"{name}.tif", (labels > 0) * 255)
    with pytest.warns(UserWarning, match=r"a\.tif: has one label in 2 separate parts, so it looks like a mask"):
        assert evaluate(result, mask).images["a"].cells == 1
    scores = evaluate(result, mask, components=True)
    assert (scores.pooled.cells, scores.pooled.f_measure, scores.pooled.pq) == (3, 1.0, 1.0)


def test_true_points_in_micrometres(folders, tmp_path):
    for name, labels in TRUTH.items():
        write_points(tmp_path / "points" / f"{name}.csv", centroids(labels) * 0.65)
    scores = evaluate(*folders, points=tmp_path / "points", pixel_size=0.65, distance=0.1)
    assert scores.pooled.f_measure == 1
