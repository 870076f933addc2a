"""The command line: which command was called, and what its exit code is."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from wsis_jax.commands import bench, demo, evaluate, export, points, report, segment, train
from wsis_jax.limits import reason
from wsis_jax.terminal import compilations, show_error, show_warning

# Heavy libraries are imported where they are used, so that --help comes at once.

_DESCRIPTION = """\
Segment cells after learning from rough cell centroids alone.

  wsis demo     --out demo                                try everything on drawn cells, in a few minutes
  wsis segment  phase-contrast images                     find cells with the model that comes with the package
  wsis points   points --images images                    check clicks before you learn from them
  wsis train    images --points points --run run          learn from images and clicks
  wsis segment  run images --out results                  find the cells of other images
  wsis report   results                                   make the page of results, or of a training, anew
  wsis evaluate results masks                             compare them with hand-made masks
  wsis export   run --out exported                        use the model where this package is not installed
  wsis bench                                              measure how fast it is here
"""

_COMMANDS = {
    "demo": demo,
    "points": points,
    "train": train,
    "segment": segment,
    "report": report,
    "evaluate": evaluate,
    "export": export,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 interrupted, 2 bad input, 3 some images failed."""
    arguments = parser().parse_args(argv)
    warnings.showwarning = show_warning  # pyrefly: ignore[bad-assignment]
    try:
        with compilations(shown=getattr(arguments, "verbose", None)):
            return _COMMANDS[arguments.command].run(arguments)
    except KeyboardInterrupt as stop:
        # What stopped where nothing is lost says how to go on.
        print(f"wsis: {stop}" if str(stop) else "wsis: interrupted", file=sys.stderr)
        return 1
    except (ValueError, KeyError, TypeError, OSError, ImportError, MemoryError) as error:
        if os.environ.get("WSIS_DEBUG"):
            raise
        show_error(reason(error))
        return 2


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="wsis", description=_DESCRIPTION, formatter_class=form)
    top.add_argument("--version", action="version", version=f"wsis_jax {version('wsis-jax')}")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.TEXT, formatter_class=form)
        module.add_arguments(command)
    return top
