"""Fuzzes one reader with atheris: `python -m fuzz.one points corpus/points -max_total_time=600`.

Arguments after the name of the reader are those of libFuzzer. What breaks the rule is left as a file `crash-…`.
"""

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wsis_jax", "tifffile", "zarr", "PIL"]):
    from fuzz.targets import TARGETS, once


def main() -> None:
    """Fuzzes the reader that the first argument names."""
    name, *rest = sys.argv[1:]
    target = TARGETS[name]
    logging.disable()  # tifffile remarks on each damaged file
    for folder in (Path(one) for one in rest if not one.startswith("-")):
        folder.mkdir(parents=True, exist_ok=True)
        for index, seed in enumerate(target.seeds):
            (folder / f"seed-{index}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *rest], lambda data: once(target, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
