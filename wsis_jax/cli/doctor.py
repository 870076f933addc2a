"""`wsis doctor`: its help, its arguments, and what it does with them."""

import argparse
import json

from wsis_jax.cli.terminal import print_findings, waiting

SUMMARY = "see whether all is well here"

TEXT = """\
See whether wsis is well on this machine: versions and extras, the devices that JAX computes on and why no GPU or
TPU is among them, memory and cores, the cache of compiled programs, and a self-test: a small drawn scene is
segmented with the model that comes with the package. The first time the test compiles, for some ten seconds.

  wsis doctor
  wsis doctor --json

What is broken keeps wsis from working as it should, and the exit code is then 3. A note is what could be better,
such as a GPU that is not used.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.cli.examine import examine

    with waiting("looking around, and segmenting a drawn scene"):
        findings = list(examine())
    broken = any(one.status == "broken" for one in findings)
    if arguments.json:
        print(json.dumps({"healthy": not broken, "findings": [one._asdict() for one in findings]}))
    else:
        print_findings(findings)
    return 3 if broken else 0
