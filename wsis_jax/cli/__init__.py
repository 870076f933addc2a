"""The command line: finds the command that was called, and returns its exit code."""

import argparse
import gc
import os
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from wsis_jax.cli import bench, demo, doctor, evaluate, export, points, report, segment, train, tune
from wsis_jax.cli.arguments import add_print_completion
from wsis_jax.cli.terminal import compilations, show_error, show_warning
from wsis_jax.core import EXPECTED_ERRORS, IMPORTED, keep_freed_memory, sentences

# Heavy libraries are imported where they are used, so that --help comes at once.

_DESCRIPTION = """\
Segment cells after learning from rough cell centroids alone.

  wsis demo     --out demo                                try everything on drawn cells, in a few minutes
  wsis segment  phase-contrast images                     find cells with the model that comes with the package
  wsis points   points --images images                    check clicks before you learn from them
  wsis train    images --points points --run run          learn from images and clicks
  wsis segment  run images --out results                  find the cells of other images
  wsis tune     run images masks                          choose how cells are cut, where there are a few masks
  wsis report   results                                   write the page of results, or of a training, again
  wsis evaluate results masks                             compare them with hand-made masks
  wsis export   run --out exported                        use the model where this package is not installed
  wsis bench                                              measure how fast it is here
  wsis doctor                                             see whether wsis works here, and why there is no GPU

Tab completes commands, options and files after: eval "$(wsis --print-completion bash)" (or zsh)
"""

_EPILOG = """\
exit codes:
  0  done
  1  interrupted, or an error in wsis itself, with a traceback
  2  bad input: arguments, files, settings, or a device in JAX_PLATFORMS that is not there;
     or no space left, on the disk or in memory
  3  done, but segment failed on some images, or points or doctor found something wrong
  above 128: ended by a signal; 130 by Ctrl-C before the command began, 137 mostly by the system because memory ran
     out, 143 by SIGTERM; a training treats SIGTERM like Ctrl-C: it saves and returns 1

environment variables:
  WSIS_DEBUG=1                         show where an error happened
  JAX_PLATFORMS=cpu                    compute on the CPU, even if there is a GPU
  CUDA_VISIBLE_DEVICES=0               the GPUs to use, counted from 0
  XLA_PYTHON_CLIENT_MEM_FRACTION=0.5   the share of a GPU's memory that is reserved at the start (0.75)
  XLA_PYTHON_CLIENT_PREALLOCATE=false  reserve memory as it is needed, to share the GPU with other programs
  JAX_COMPILATION_CACHE_DIR=DIR        where compiled programs and the last models are kept; by default below
                                       XDG_CACHE_HOME (~/.cache), on Windows LOCALAPPDATA
  JAX_ENABLE_COMPILATION_CACHE=false   keep no compiled programs
  JAX_COORDINATOR_ADDRESS=HOST:PORT    the first of several processes that train together; JAX_NUM_PROCESSES says
                                       how many there are, JAX_PROCESS_ID which this is (with srun, which sets
                                       SLURM_STEP_NUM_TASKS, neither is needed)
  TMPDIR=DIR                           the folder of temporary files, which large images need
  NO_COLOR=1, COLUMNS=160              tables without colours, and their width
"""

_MODULES = (demo, points, train, segment, tune, report, evaluate, export, bench, doctor)
_COMMANDS = {module.__name__.rpartition(".")[2]: module for module in _MODULES}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 interrupted, 2 an error, 3 done, but not well."""
    warnings.showwarning = show_warning  # pyrefly: ignore[bad-assignment]
    if argv is None:
        gc.set_threshold(50_000, 20, 20)  # the modules imported from now on are many objects, and none to free
    try:
        start = IMPORTED if argv is None else time.perf_counter()  # of a call in Python, imports are long done
        arguments = parser().parse_args(argv)
        if argv is None and arguments.command == "train":  # a process of its own, which does nothing else
            keep_freed_memory()
        with compilations(shown=getattr(arguments, "verbose", None), start=start):
            code = _COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
        if argv is None:
            gc.freeze()  # when Python ends, it looks at every object for some to free, which takes half a second
        return code
    except KeyboardInterrupt as stop:
        # A training that was stopped says how to go on.
        print(f"wsis: {stop}" if str(stop) else "wsis: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has closed it, as `head` does; Python must not try to write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EXPECTED_ERRORS as error:
        if os.environ.get("WSIS_DEBUG"):
            raise
        for said in sentences(error):
            show_error(said)
        return 2
    except Exception:
        # JAX tells by errors of many classes that it does not start.
        if os.environ.get("WSIS_DEBUG") or "jax" not in sys.modules or (why := doctor.why_no_device()) is None:
            raise
        show_error(why)
        return 2


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="wsis", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=form)
    add_print_completion(top)
    top.add_argument("--version", action="version", version=f"wsis_jax {version('wsis-jax')}")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.TEXT, formatter_class=form)
        module.add_arguments(command)
    return top
