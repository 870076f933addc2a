"""Pairing files by their names."""

import unicodedata
from pathlib import Path

import pytest

from wsis_jax.io import pairing


def test_pair_by_name():
    images = [Path("i/b.tif"), Path("i/a.tif"), Path("i/c.tif")]
    labels = [Path("l/a_labels.tif"), Path("l/b_labels.tif"), Path("l/d_labels.tif")]
    pairs, images_alone, labels_alone = pairing.pair_by_name(images, labels)
    assert pairs == [(images[0], labels[1]), (images[1], labels[0])]
    assert images_alone == {images[2]: "c"}
    assert labels_alone == {labels[2]: "d"}


def test_pair_by_name_of_one_and_one_or_none():
    image, points = Path("image.tif"), Path("clicks.csv")
    assert pairing.pair_by_name([image], [points]) == ([(image, points)], {}, {})
    assert pairing.pair_by_name([image], []) == ([], {image: "image"}, {})


def test_files_in_folders_are_paired_by_their_way_or_where_unique_by_their_last_name():
    def named(*names):
        return {Path(f"{name}.x"): name for name in names}

    def paired(first, second):
        pairs, alone, left = pairing.pair_by_name(named(*first), named(*second))
        return (
            [(str(a.with_suffix("")), str(b.with_suffix(""))) for a, b in pairs],
            [*alone.values()],
            [*left.values()],
        )

    plate = ("A1/img", "A2/img")
    assert paired(plate, ("A2/img", "A1/img")) == ([("A1/img", "A1/img"), ("A2/img", "A2/img")], [], [])
    assert paired(plate, ("img", "x")) == ([], [*plate], ["img", "x"])  # of which is it?
    assert paired(plate, ("A1/img", "img")) == ([("A1/img", "A1/img")], ["A2/img"], ["img"])
    assert paired(("A1/a", "A2/b"), ("b", "a")) == ([("A1/a", "a"), ("A2/b", "b")], [], [])
    assert paired(("a", "b"), ("day/b", "day/a")) == ([("a", "day/a"), ("b", "day/b")], [], [])
    assert paired(("a", "old/a"), ("a", "c")) == ([("a", "a")], ["old/a"], ["c"])
    assert paired(("x/a", "y/b"), ("p/a", "q/a")) == ([], ["x/a", "y/b"], ["p/a", "q/a"])
    assert paired(("x/a",), ("y/b",)) == ([("x/a", "y/b")], [], [])
    assert paired(("image", "old/a"), ("clicks", "out/clicks")) == (
        [("image", "clicks")],
        ["old/a"],
        ["out/clicks"],
    )
    assert paired(("image", "old/a"), ("clicks", "b")) == ([], ["image", "old/a"], ["clicks", "b"])
    assert paired(("image", "old/a"), ("old/image", "clicks")) == (
        [("image", "old/image")],
        ["old/a"],
        ["clicks"],
    )


def test_ends_of_names_do_not_count_in_folders_either():
    def paired(first, second):
        pairs, _, _ = pairing.pair_by_name(
            *({Path(f"{name}.x"): name for name in names} for names in (first, second))
        )
        return [(str(a.with_suffix("")), str(b.with_suffix(""))) for a, b in pairs]

    plate = ("A1/img", "A2/img")
    ends = ("A1/img_corrections", "A2/img_points")
    assert paired(plate, ends) == [*zip(plate, ends, strict=True)]
    assert paired(plate, ("img_points", "x")) == []  # of which is it?
    assert paired(("A1/a", "A2/b"), ("b_mask", "a_points")) == [("A1/a", "a_points"), ("A2/b", "b_mask")]
    assert paired(("A1/a", "b"), ("x/a_points", "x/a")) == [("A1/a", "x/a")]
    assert paired(("A1/a", "b"), ("x/a_points", "y/a_mask")) == []
    with pytest.raises(ValueError, match=r"img_points\.x: A1/img_mask\.x would be paired by the same name"):
        paired(("A1/img", "b"), ("A1/img_mask", "A1/img_points"))


@pytest.mark.parametrize(
    ("name", "others", "told"),
    [
        ("a", ["a_Points"], "; a_Points.csv has nearly that name"),
        ("A", ["a", "b"], "; a.csv has nearly that name"),
        ("img_1", ["img_001", "img_002"], "; img_001.csv has nearly that name"),
        ("well A1", ["well-a1", "A1_well"], "; well-a1.csv and A1_well.csv have nearly that name"),
        ("fluorescense", ["fluorescence"], "; fluorescence.csv has nearly that name"),
        ("img_001", ["img_002", "other"], ""),
        ("A1/img", ["A1/img_points", "A2/img_points"], "; A1/img_points.csv has nearly that name"),
        ("a", ["a-1", "a-2", "a-3", "a-4"], "; a-1.csv, a-2.csv and a-3.csv have nearly that name"),
        ("a", ["b", "__"], ""),
    ],
)
def test_near_names_are_told(name, others, told):
    assert pairing.near(name, {Path(f"{other}.csv"): other for other in others}) == told


def test_who_has_no_partner_is_told_who_nearly_has_its_name():
    given = {"partner": "point file", "example": "a.tif and a.csv"}
    with pytest.raises(ValueError, match=r"as in a\.tif and a\.csv; a_Points\.csv has nearly that name$"):
        pairing.pair_with_partners([Path("a.tif"), Path("c.tif")], [Path("a_Points.csv")], **given)
    images, points = [Path("A.TIF"), Path("b.tif")], [Path("a.csv"), Path("b.csv")]
    with pytest.warns() as caught:
        assert pairing.pair_with_partners(images, points, **given) == [(images[1], points[1])]
    assert [str(one.message) for one in caught] == [
        "A.TIF: left out, since no point file has that name; a.csv has nearly that name",
        "a.csv: left out, since no image has that name",
    ]
    with pytest.warns(match=r"a\.csv: left out, since no image has that name; A\.TIF has nearly that name"):
        pairing.pair_with_partners(images, points, **given, warn_alone=False)


def test_pair_by_name_refuses_two_files_of_one_name():
    with pytest.raises(ValueError, match=r"b/x\.png: a/x\.tif would be paired by the same name; remove"):
        pairing.pair_by_name([Path("y.tif")], [Path("a/x.tif"), Path("b/x.png")])


def test_pair_by_name_then_without_what_says_the_kind_of_a_file():
    images = [Path("i/a.tif"), Path("i/b.tif"), Path("i/c_mask.tif"), Path("i/d.tif")]
    files = ["b_points.csv", "a_corrections.csv", "c_mask.csv", "d.csv", "d_points.csv", "e_points.csv"]
    points = [Path("p", name) for name in files]
    pairs, images_alone, points_alone = pairing.pair_by_name(images, points)
    partners = ["a_corrections.csv", "b_points.csv", "c_mask.csv", "d.csv"]
    assert pairs == [(image, Path("p", name)) for image, name in zip(images, partners, strict=True)]
    assert images_alone == {}
    assert list(points_alone) == [Path("p/d_points.csv"), Path("p/e_points.csv")]


def test_bare_name():
    ends = ("_points", "_corrections", "_cp_masks", "_masks", "_mask", "_cells")
    assert [pairing.bare_name(f"A_mask/x{end}") for end in ends] == [*["A_mask/x"] * 5, "A_mask/x_cells"]
    assert [pairing.bare_name(name) for name in ("_points", "A1/_points")] == ["_points", "A1/_points"]


def test_pair_by_name_refuses_two_files_that_would_be_partners_of_one():
    points = [Path("p/a_points.csv"), Path("q/a_corrections.csv"), Path("q/b.csv")]
    with pytest.raises(ValueError, match=r"q/a_corrections\.csv: p/a_points\.csv would be paired by the same"):
        pairing.pair_by_name([Path("a.tif"), Path("b.tif")], points)


def test_names_that_look_the_same_are_the_same():
    apart, joined = unicodedata.normalize("NFD", "Größe"), unicodedata.normalize("NFC", "Größe")
    assert apart != joined
    images, points = [Path(f"{apart}.tif"), Path("b.tif")], [Path(f"{joined}.csv"), Path("b.csv")]
    assert pairing.pair_by_name(images, points) == (list(zip(images, points, strict=True)), {}, {})
