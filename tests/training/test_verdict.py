"""What a training says of its model: a verdict for each range of scores, and what would help."""

import pytest

from wsis_jax.core.config import Config
from wsis_jax.training.verdict import judge

CONFIG = Config().override(["image.diameter=40", "likelihood.sigma=10", "image.scale=0.5", "train.steps=400"])


def line(step, f_measure=0.7, best_step=None, **changes):
    """A line of metrics that calls for no advice."""
    scores = {"loss": 0.01, "validation_loss": 0.01, "precision": f_measure, "recall": f_measure}
    return {"step": step, "f_measure": f_measure, "best_step": best_step or step, **scores, **changes}


def image(points=200, *, held_out=False, spacing=50.0):
    return {"name": "a", "height": 9, "width": 9, "points": points, "spacing": spacing, "held_out": held_out}


IMAGES = [image(), image(held_out=True)]
LOOK = "Look at the pictures: are all cells clicked, and are the clicks on them? wsis points tells."


@pytest.mark.parametrize(
    ("f_measure", "grade", "begins"),
    [
        (
            0.8,
            "good",
            "Good enough to use: on images that it did not learn from it finds 80% of the cells, and 80%",
        ),
        (
            0.79,
            "fair",
            "Usable, if somebody looks at the results: on images that it did not learn from it finds 79%",
        ),
        (0.6, "fair", "Usable"),
        (0.59, "poor", "Not good enough yet: on images that it did not learn from it finds 59%"),
    ],
)
def test_the_f_measure_of_held_out_images_decides(f_measure, grade, begins):
    found = judge([line(400, f_measure)], IMAGES, CONFIG)
    assert found.grade == grade
    assert found.text.startswith(begins)
    assert found.text.endswith("of what it finds are cells, a quarter of a diameter from the click at most.")
    assert found.advice == (() if grade == "good" else (LOOK,))


def test_the_best_model_is_judged_not_the_last():
    metrics = [line(300, 0.9), line(400, 0.3, best_step=300)]
    assert judge(metrics, IMAGES, CONFIG).grade == "good"


def test_without_a_validation_nothing_is_said():
    found = judge([], IMAGES, CONFIG)
    assert (found.grade, found.advice) == ("unknown", ())
    assert found.text == "There was no validation yet, so nothing can be said of the model."


@pytest.mark.parametrize(
    ("f_measure", "grade", "advice"), [(0.95, "unknown", ()), (0.7, "unknown", (LOOK,)), (0.5, "poor", (LOOK,))]
)
def test_where_no_image_is_held_out_only_a_poor_model_is_known(f_measure, grade, advice):
    found = judge([line(400, f_measure)], [image()], CONFIG)
    assert (found.grade, found.advice) == (grade, advice)
    assert f"n the images that it learned from it finds {f_measure:.0%} of the cells" in found.text
    assert ("five images or more" in found.text) == (grade == "unknown")


def test_scores_of_few_cells_are_doubted():
    few = [image(), image(20, held_out=True)]
    assert judge([line(400, 0.8)], few, CONFIG).text.endswith(" That is of only 20 cells, so give or take 9%.")
    assert judge([line(400, 1.0)], few, CONFIG).text.endswith("only 20 cells, so give or take 5%.")
    assert "give or take" not in judge([line(400, 0.8)], [image(), image(50, held_out=True)], CONFIG).text
    assert "give or take" not in judge([line(400, 0.8)], [image(), image(0, held_out=True)], CONFIG).text


def test_facts_that_are_not_known_are_not_made_up():
    found = judge([line(400, 0.7)], [], CONFIG)
    assert (found.grade, found.advice) == ("fair", (LOOK,))


@pytest.mark.parametrize(
    ("metrics", "advice"),
    [
        ([line(200)], "Go on with --resume: 200 of 400 steps are done."),
        (
            [line(300, validation_loss=0.02), line(400, validation_loss=0.017)],
            "Train longer: the loss still fell by 15% in the last quarter of the 400 steps "
            "(--resume --set train.steps=800).",
        ),
        ([line(300, validation_loss=0.02), line(400, validation_loss=0.0185)], LOOK),
        (
            [line(400, validation_loss=0.03)],
            "Click in more images, of all kinds that you have: the loss of those held out is 3.0 times that of "
            "those learned from.",
        ),
        ([line(400, validation_loss=0.019)], LOOK),
        (
            [line(400, precision=0.9, recall=0.7)],
            "It misses cells: click on more of those it misses, or segment with --set detect.threshold=0.3.",
        ),
        (
            [line(400, precision=0.7, recall=0.9)],
            "It finds what is not clicked: click on all cells of an image (wsis points shows which have none), "
            "or, if a cell is found twice, give a larger --diameter.",
        ),
        ([line(400, precision=0.75, recall=0.85)], LOOK),
    ],
)
def test_what_the_curves_say_would_help(metrics, advice):
    assert judge(metrics, IMAGES, CONFIG).advice == (advice,)


def test_a_training_that_stopped_by_itself_is_not_to_go_on():
    config = CONFIG.override(["train.patience=2", "train.evaluate_every=100"])
    metrics = [line(100), line(200, best_step=100), line(300, best_step=100)]
    assert judge(metrics, IMAGES, config).advice == (LOOK,)
    assert judge(metrics[:2], IMAGES, config).advice == ("Go on with --resume: 200 of 400 steps are done.",)


def test_what_the_clicks_say_would_help():
    few = [image(99), image(held_out=True)]
    assert judge([line(400)], few, CONFIG).advice == (
        "Click on more cells: it learned from only 99, and a few hundred are better.",
    )
    dense = [image(spacing=26.0), image(spacing=None), image(held_out=True, spacing=27.0)]
    assert judge([line(400)], dense, CONFIG).advice == (
        "Try a smaller diameter: cells are taken to be 40 pixels wide, but their clicks are only 26 pixels apart "
        "(--diameter 26).",
    )
    assert judge([line(400)], [image(spacing=27.0), *IMAGES[1:]], CONFIG).advice == (LOOK,)


def test_several_things_may_help():
    found = judge(
        [line(200, 0.4, precision=0.9, recall=0.3)], [image(30, spacing=20.0), image(held_out=True)], CONFIG
    )
    assert [one.split(":")[0] for one in found.advice] == [
        "Go on with --resume",
        "Click on more cells",
        "It misses cells",
    ]


def test_a_best_step_without_figures_is_no_validation():
    assert judge([line(400, best_step=100)], IMAGES, CONFIG).grade == "unknown"
