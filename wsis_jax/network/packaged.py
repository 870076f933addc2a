"""The trained models that come with the package, each a run folder with a model card, found by name.

    models/<name>/
      README.md         the model card: data, licence, scores, what the model is not for
      config.json       as in any run folder
      weights/<step>/   as in any run folder

`python -m experiments.box_model` puts a model there.
"""

from pathlib import Path

MODELS = Path(__file__).parent / "models"
"""The folder of the models that come with the package."""


def packaged_models() -> list[str]:
    """Returns the names of the models that come with the package, sorted."""
    return sorted(path.parent.name for path in MODELS.glob("*/config.json"))


def model_folder(run: str | Path) -> Path:
    """Returns the run folder that is meant by a folder or by the name of a model of the package.

    A folder that exists wins over a model of the same name; what is neither is returned as it is.
    """
    run = Path(run)
    return MODELS / run if not run.is_dir() and str(run) in packaged_models() else run
