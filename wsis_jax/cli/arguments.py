"""What several commands share: arguments, and the settings that they change."""

import argparse
import json
from collections.abc import Sequence

from wsis_jax.core import Config
from wsis_jax.network import packaged_models

_SET_HELP = "change a setting, as in train.steps=500 or cut.reach=3; may be given several times"


def which_run() -> str:
    """Returns the help of an argument that says which trained model to use."""
    names = ", ".join(packaged_models())
    folder = "folder of a trained model"
    return f"{folder}, or the name of one of the package ({names})" if names else folder


def add_channel(command: argparse.ArgumentParser, purpose: str) -> None:
    """Adds --channel, for the commands that read images."""
    command.add_argument(
        "--channel", type=int, metavar="N", help=f"the channel of IMAGES {purpose}, counted from 0"
    )


def add_verbose(command: argparse.ArgumentParser) -> None:
    """Adds --verbose, for the commands that compile programs."""
    command.add_argument("--verbose", action="store_true", help="say at the end which programs were compiled")


def add_settings(command: argparse.ArgumentParser, purpose: str, sections: Sequence[str]) -> None:
    """Adds --preset and --set, and lists at the end what can be set."""
    tree = Config().to_dict()
    lines = [
        f"  {section}.{key}={json.dumps(value)}" for section in sections for key, value in tree[section].items()
    ]
    command.epilog = "settings and their defaults (null: chosen from the data; explained in config.py):\n"
    command.epilog += "\n".join(lines)
    command.add_argument(
        "--preset",
        choices=["default", "paper", "reference"],
        help=f"{purpose}: the project's choice (default), the paper's text, or its authors' code",
    )
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=_SET_HELP)


def changed_settings(config: Config, arguments: argparse.Namespace) -> Config:
    """Returns the settings of a run with --preset and --set applied."""
    from wsis_jax.core import preset

    config = preset(arguments.preset, config) if arguments.preset else config
    return config.override(arguments.set)
