"""Arguments that several commands share, and the script with which a shell completes all of them."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsis_jax.core import Channels, Config, UserError, channels_of
from wsis_jax.network import packaged_models

_SET_HELP = "change a setting, as in train.steps=500 or cut.reach=3; may be given several times"


def which_run() -> str:
    """Returns the help of an argument that says which trained model to use."""
    names = ", ".join(packaged_models())
    folder = "folder of a trained model"
    return f"{folder}, or the name of one of the package ({names})" if names else folder


def add_channel(command: argparse.ArgumentParser, purpose: str, default: str) -> None:
    """Adds --channel, for the commands that read images."""
    command.add_argument(
        "--channel",
        type=_channels,
        metavar="CHANNELS",
        help=f"the channels of IMAGES {purpose}: a number, counted from 0; up to four of them, as 0,2; colours "
        f"for red, green and blue; or grey, where colours become grey (default: {default})",
    )


def _channels(text: str) -> Channels:
    """Returns the channels that an argument names."""
    try:
        return channels_of(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_axes(command: argparse.ArgumentParser) -> None:
    """Adds --axes, for the commands that read images."""
    command.add_argument(
        "--axes",
        metavar="LETTERS",
        help="names for the axes of TIFF files that have none, or wrong ones: Y, X, C for channels, S for "
        "colours, others for frames, as in TZCYX",
    )


def add_points_in(command: argparse.ArgumentParser, *, size: bool = True) -> None:
    """Adds --points-in, and, with `size`, --pixel-size, for the commands that read points."""
    command.add_argument(
        "--points-in",
        choices=["pixels", "um"],
        help="what the points are measured in: pixels, or micrometres, as in ImageJ's results of an image with a "
        "scale (default: what the point file says, or else pixels, unless they fit the image much better as "
        "micrometres: then you are asked)",
    )
    if size:
        command.add_argument(
            "--pixel-size",
            type=length,
            metavar="UM",
            help="side of a pixel in micrometres, for points in micrometres, instead of what the files tell",
        )


def add_components(command: argparse.ArgumentParser, masks: str) -> None:
    """Adds --components, for the commands that read masks."""
    command.add_argument(
        "--components",
        action="store_true",
        help=f"{masks} tell cells from background alone: each connected part of one value or colour is a cell",
    )


def check_order(run: Path, images: Sequence[str]) -> None:
    """Raises UserError if a model is among the images, and what is in its place is none."""

    def is_model(path: Path) -> bool:
        return (path / "weights").is_dir() or (not path.exists() and str(path) in packaged_models())

    swapped = [image for image in images if is_model(Path(image))]
    if swapped and not is_model(run):
        others = " ".join(dict.fromkeys([str(run), *(image for image in images if image not in swapped)]))
        raise UserError(f"{swapped[0]} is a model and {run} is none; give the model first: {swapped[0]} {others}")


def choosing(config: Config, channels: Channels | None) -> Config:
    """Returns settings with the channels of --channel, if any were given."""
    if channels is None:
        return config
    return dataclasses.replace(config, image=dataclasses.replace(config.image, channels=channels))


def length(text: str) -> float:
    """Returns the length that an argument tells: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a length; give a number above 0, as in 0.65")
    return value


def add_verbose(command: argparse.ArgumentParser) -> None:
    """Adds --verbose, for the commands that compile programs."""
    command.add_argument(
        "--verbose",
        action="store_true",
        help="print at the end what took the time, and which programs were compiled",
    )


def add_settings(command: argparse.ArgumentParser, purpose: str, sections: Sequence[str]) -> None:
    """Adds --preset and --set, and lists at the end what can be set."""
    tree = Config().to_dict()
    lines = [
        f"  {section}.{key}={json.dumps(value)}" for section in sections for key, value in tree[section].items()
    ]
    command.epilog = "settings and their defaults (null: chosen from the data; docs/ explains each):\n"
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
    from wsis_jax.cutting import check_cut

    config = preset(arguments.preset, config) if arguments.preset else config
    config = config.override(arguments.set)
    check_cut(config.cut)  # an unknown data term is refused before the network runs
    return config


# Completion by a shell

_SHELLS = ("bash", "zsh")

# What completes an argument, by the word that stands for it in the help: files, folders, or a function below.
_FILES = ("FILE", "IMAGES", "POINTS", "STAINS", "LABELS", "MASKS")
_FOLDERS = ("DIR", "SEQUENCE")
_FUNCTION_OF = {
    "RUN": "_wsis_model_dirs",
    "NAME": "_wsis_model_dirs",
    "KINDS": "_wsis_kinds",
    "CHANNELS": "_wsis_channels",
    "SECTION.KEY=VALUE": "_wsis_settings",
}

# Functions for what shtab cannot complete: a folder or a name, words separated by commas, a setting without value.
_FUNCTIONS = {
    "bash": """
_wsis_model_dirs() {{
  compgen -d -- "$1"
  compgen -W "{models}" -- "$1"
}}
_wsis_kinds() {{
  local before=""
  [[ $1 == *,* ]] && before="${{1%,*}},"
  compgen -P "$before" -W "{kinds}" -- "${{1##*,}}"
}}
_wsis_channels() {{
  compgen -W "colours grey" -- "$1"
}}
_wsis_settings() {{
  compgen -W "{settings}" -- "$1"
}}
""",
    "zsh": """
_wsis_model_dirs() {{
  _files -/
  compadd -- {models}
}}
_wsis_kinds() {{
  _values -s , kind {kinds}
}}
_wsis_channels() {{
  compadd -- colours grey
}}
_wsis_settings() {{
  compadd -S "" -- {settings}
}}
""",
}
# Bash adds no space after a word only where the function that it calls itself says so.
_LAST = {
    "bash": """
_wsis() {
  _shtab_wsis
  [[ ${#COMPREPLY[@]} != 1 || $COMPREPLY != *= ]] || compopt -o nospace 2>/dev/null || true
}
complete -o bashdefault -F _wsis wsis
""",
    "zsh": "",
}


def add_print_completion(top: argparse.ArgumentParser) -> None:
    """Adds --print-completion to the parser of all commands."""
    top.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=_SHELLS,
        help="print the script with which a shell completes wsis, for the shell to evaluate",
    )


class _PrintCompletion(argparse.Action):
    """Prints the completion script of a shell, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> None:
        """Prints the script; `values` is the name of the shell."""
        import shtab

        from wsis_jax.output import FORMATS

        ways = dict.fromkeys(_FILES, shtab.FILE) | dict.fromkeys(_FOLDERS, shtab.DIRECTORY)
        ways |= {word: dict.fromkeys(_SHELLS, function) for word, function in _FUNCTION_OF.items()}
        for action in _actions(parser):
            if action.metavar in ways:
                action.complete = ways[action.metavar]  # pyrefly: ignore[missing-attribute]
        settings = [f"{section}.{key}=" for section, values in Config().to_dict().items() for key in values]
        words = {"models": packaged_models(), "kinds": FORMATS, "settings": settings}
        joined = {name: " ".join(one) for name, one in words.items()}
        functions = _FUNCTIONS[values].format(**joined)
        print(shtab.complete(parser, values, preamble=functions) + _LAST[values])
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yields all arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
