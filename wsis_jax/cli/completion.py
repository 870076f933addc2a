"""`wsis --print-completion`: the script with which a shell completes commands, options, files and settings."""

import argparse
from collections.abc import Iterator
from typing import Any

from wsis_jax.core import Config
from wsis_jax.network import packaged_models

_SHELLS = ("bash", "zsh")

# What stands for files, folders and trained models in the help of an argument.
_FILES = ("FILE", "IMAGES", "POINTS", "STAINS", "LABELS", "MASKS")
_FOLDERS = ("DIR", "SEQUENCE")
_MODELS = ("RUN", "NAME")

# Functions for what shtab does not know: a folder or a name, words with commas between, a setting and no space.
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
_wsis_settings() {{
  compadd -S "" -- {settings}
}}
""",
}
# Only the function that Bash itself calls can leave out the space.
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
        help="print what makes a shell complete wsis, to be evaluated by it",
    )


class _PrintCompletion(argparse.Action):
    """Prints the script for a shell, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> None:
        """Does it; `values` is the name of the shell."""
        import shtab

        from wsis_jax.output import KINDS, REPORT

        for action in _actions(parser):
            _complete(action, shtab.FILE, shtab.DIRECTORY)
        kinds = [*KINDS, REPORT, "ctc"]
        words = {"models": packaged_models(), "kinds": kinds, "settings": _settings()}
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


def _complete(action: argparse.Action, files: dict[str, Any], folders: dict[str, Any]) -> None:
    """Tells shtab how an argument is completed, by the word that stands for it in the help."""
    word = action.metavar
    if word in _FILES:
        action.complete = files  # pyrefly: ignore[missing-attribute]
    elif word in _FOLDERS:
        action.complete = folders  # pyrefly: ignore[missing-attribute]
    elif word in _MODELS:
        action.complete = dict.fromkeys(_SHELLS, "_wsis_model_dirs")  # pyrefly: ignore[missing-attribute]
    elif word == "KINDS":
        action.complete = dict.fromkeys(_SHELLS, "_wsis_kinds")  # pyrefly: ignore[missing-attribute]
    elif word == "SECTION.KEY=VALUE":
        action.complete = dict.fromkeys(_SHELLS, "_wsis_settings")  # pyrefly: ignore[missing-attribute]


def _settings() -> list[str]:
    """Returns what may follow --set, up to the value."""
    return [f"{section}.{key}=" for section, values in Config().to_dict().items() for key in values]
