"""Shell completion: bash really completes, and no argument is forgotten."""

import argparse
import shlex
import shutil
import subprocess

import pytest

from wsis_jax import cli
from wsis_jax.cli import main
from wsis_jax.core.config import Config


def printed(capsys, shell: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", shell])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def completed(capsys, tmp_path, monkeypatch):
    """What Tab offers beside an image and a folder: `completed("segment ph")`, the last word unfinished."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phones.tif").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "complete.sh").write_text(printed(capsys, "bash"))

    def complete(line: str) -> set[str]:
        words = ["wsis", *line.split(" ")]
        program = (
            f"source complete.sh; COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; "
            r'"$(complete -p wsis | sed "s/.*-F \([^ ]*\) .*/\1/")"; printf "%s\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return set(done.stdout.split())

    return complete


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes(completed):
    assert completed("") == set(cli._COMMANDS)
    assert completed("e") == {"evaluate", "export"}
    assert completed("train --nuc") == {"--nuclei", "--nuclear-channel", "--nuclear-diameter"}
    # A model is a folder or a name of the package, an image is any file, results are a folder.
    assert completed("segment ph") == {"photos", "phase-contrast"}
    assert completed("segment phase-contrast ph") == {"photos", "phones.tif"}
    assert completed("segment phase-contrast photos --out ph") == {"photos"}
    assert completed("segment run a.tif --preset ") == {"default", "paper", "reference"}
    assert completed("points a.csv --format i") == {"imagej"}
    assert completed("train a.tif --channel c") == {"colours"}
    assert completed("segment run a.tif --format geo") == {"geojson"}
    assert completed("segment run a.tif --format labels,table,par") == {"labels,table,parquet"}
    assert completed("train a.tif --set cut.edge_w") == {"cut.edge_weight="}
    assert len(completed("train a.tif --set ")) == sum(map(len, Config().to_dict().values()))


FREE = ("LETTERS", "PIXELS", "UM", "WHERE")


def values(parser: argparse.ArgumentParser):
    """Yields the arguments of all commands that take a word, not a number or what only the user knows."""
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    for command in commands.choices.values():
        yield from (
            one
            for one in command._actions
            if one.nargs != 0 and one.type not in (int, float) and one.metavar not in FREE
        )


def test_every_argument_that_takes_a_word_is_completed(monkeypatch, capsys):
    parser = cli.parser()
    assert len(list(values(parser))) > 20
    with pytest.raises(SystemExit):
        parser.parse_args(["--print-completion", "zsh"])
    assert [one.dest for one in values(parser) if not (one.choices or hasattr(one, "complete"))] == []


def test_the_script_of_zsh_names_the_commands_and_is_sound(capsys):
    script = printed(capsys, "zsh")
    assert [name for name in cli._COMMANDS if f"_shtab_wsis_{name}_options=(" not in script] == []
    if shutil.which("zsh") is not None:
        subprocess.run(["zsh", "-n"], input=script, text=True, check=True)
