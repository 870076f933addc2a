"""Whether wsis_jax is well on this machine: versions, devices, memory, caches, models, and a self-test."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

# Heavy libraries are imported where they are used: one that is broken is a finding, and the others are still made.

SELF_TEST_MODEL = "phase-contrast"
_CELLS, _SIDE, _DIAMETER = 4, 128, 40.0  # of the drawn scene; pixels of the image
# The model of the package finds all four, with a mDice of 0.83; whoever computes something else is far below.
_LEAST_DICE = 0.6

Status = Literal["ok", "note", "broken"]


class Finding(NamedTuple):
    """What was found of one thing.

    Attributes:
        name: of the thing.
        status: ok, or a note of what could be better, or broken: it keeps wsis_jax from working as it should.
        text: what there is, or what is wrong.
        advice: what to do; empty where there is nothing to do.
        facts: the same for machines, ready for JSON.
    """

    name: str
    status: Status
    text: str
    advice: str
    facts: dict[str, Any]


def examine() -> Iterator[Finding]:
    """Yields what there is to find, in order; the self-test, which takes longest, is the last.

    Nothing is raised: what fails is a finding that says how.
    """
    for name, check in _CHECKS.items():
        try:
            yield check(name)
        except Exception as error:  # whatever a broken library raises
            why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            yield Finding(name, "broken", why, "reinstall wsis-jax in a fresh environment", {"error": why})


def _versions(name: str) -> Finding:
    """Finds the versions of what numbers depend on, and packages that are missing or of a wrong version."""
    from wsis_jax.cli.installed import command, lacking
    from wsis_jax.core import versions

    lacks, found = lacking(), versions(device=False)
    facts = found | {"system": platform.platform(), "lacking": lacks}
    text = ", ".join(f"{package} {version}" for package, version in found.items() if package != "system")
    if lacks:
        return Finding(name, "broken", f"{text}; {'; '.join(lacks)}", command(), facts)
    return Finding(name, "ok", text, "", facts)


def _extras(name: str) -> Finding:
    """Finds which extras are installed, and the command that adds each of the others."""
    from wsis_jax.cli.installed import command, extras

    facts = {extra: not lacks for extra, lacks in extras().items()}
    lines = [f"{extra}: {'installed' if here else command(extra)}" for extra, here in facts.items()]
    return Finding(name, "ok", "\n".join(lines), "", {"installed": facts})


def _devices(name: str) -> Finding:
    """Finds the devices that JAX computes on, and why there is no accelerator."""
    from wsis_jax.cli.accelerators import look_around, start_jax, why_no_accelerator

    start = start_jax()
    devices: list[dict[str, Any]] = []
    for one in start.devices:
        memory = (one.memory_stats() or {}).get("bytes_limit")  # None where the backend does not tell, as on a CPU
        devices.append({"kind": one.device_kind, "platform": one.platform, "memory": memory})
    shown = [one["kind"] + (f" ({_gib(one['memory'])} for JAX)" if one["memory"] else "") for one in devices]
    facts: dict[str, Any] = {"devices": devices}
    if any(one["platform"] != "cpu" for one in devices):
        return Finding(name, "ok", ", ".join(shown), "", facts)
    reason = why_no_accelerator(look_around(), start)
    facts["no_accelerator"] = reason.text
    text = f"{', '.join(shown)}; no GPU or TPU: {reason.text}" if shown else reason.text
    return Finding(name, "broken" if reason.broken else "note", text, reason.advice, facts)


def _memory(name: str) -> Finding:
    """Finds memory, cores, and room for temporary files."""
    import psutil

    memory, folder = psutil.virtual_memory(), tempfile.gettempdir()
    process = psutil.Process()
    usable = len(process.cpu_affinity() or []) if hasattr(process, "cpu_affinity") else os.cpu_count()
    facts = {
        "memory": memory.total,
        "available": memory.available,
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "temporary_folder": folder,
        "temporary_space": psutil.disk_usage(folder).free,
    }
    text = (
        f"{_gib(memory.available)} of {_gib(memory.total)} free; {usable} of {os.cpu_count()} cores to use; "
        f"{_gib(facts['temporary_space'])} for temporary files in {folder}"
    )
    return Finding(name, "ok", text, "", facts)


def _cache(name: str) -> Finding:
    """Finds the cache of compiled programs."""
    from wsis_jax.core import use_compilation_cache

    folder = use_compilation_cache()
    programs = [path for path in folder.glob("*-cache") if path.is_file()]
    size = sum(path.stat().st_size for path in programs)
    facts = {"folder": str(folder), "programs": len(programs), "bytes": size, "writable": _writable(folder)}
    text = f"{len(programs)} compiled programs, {size / 2**20:.1f} MiB, in {folder}"
    if facts["writable"]:
        return Finding(name, "ok", text, "", facts)
    text += "; it cannot be written to, so that every process compiles anew"
    return Finding(name, "broken", text, "set JAX_COMPILATION_CACHE_DIR to a folder of yours", facts)


def _writable(folder: Path) -> bool:
    """Tells whether files can be written to a folder, which is made where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _models(name: str) -> Finding:
    """Finds the models that come with the package."""
    from wsis_jax.cli.installed import command
    from wsis_jax.network import packaged_models

    names = packaged_models()
    if SELF_TEST_MODEL in names:
        return Finding(name, "ok", ", ".join(names), "", {"models": names})
    return Finding(name, "broken", f"{SELF_TEST_MODEL} is missing", command(), {"models": names})


def _self_test(name: str) -> Finding:
    """Segments a small drawn scene with the model of the package, and finds whether the result is right."""
    from wsis_jax.cli.accelerators import start_jax

    if start_jax().error is not None:
        return Finding(name, "broken", "not made, because JAX does not start", "", {})
    facts = _segment_scene()
    text = (
        f"{facts['compile_seconds']:.1f} s to get its programs ({facts['compiled']} compiled, {facts['loaded']} "
        f"from the cache), {facts['run_seconds']:.2f} s to run; of {_CELLS} drawn cells {facts['found']} found, "
        f"F-measure {facts['f_measure']:.2f}, mDice {facts['mdice']:.2f}"
    )
    if facts["f_measure"] == 1 and facts["mdice"] >= _LEAST_DICE:
        return Finding(name, "ok", text, "", facts)
    text += f"; it should be 1 and at least {_LEAST_DICE}: this machine computes wrong numbers"
    return Finding(name, "broken", text, "compare with JAX_PLATFORMS=cpu wsis doctor, and report it", facts)


def _segment_scene() -> dict[str, Any]:
    """Returns times and scores of a drawn scene, segmented twice: the first time its programs are compiled."""
    import numpy as np

    from wsis_jax.core import Compilations
    from wsis_jax.metrics import match_labels, match_points
    from wsis_jax.network import load_model
    from wsis_jax.segmentation import segment
    from wsis_jax.synthetic import draw_scene

    run = load_model(SELF_TEST_MODEL)
    scene = draw_scene(0, shape=(_SIDE, _SIDE), cells=_CELLS, diameter=_DIAMETER)
    compilations = Compilations()
    segment(run, scene.image)
    start = time.perf_counter()
    found = segment(run, scene.image)
    seconds = time.perf_counter() - start
    points = match_points(found.points, scene.points, distance=_DIAMETER / 2)
    dice = match_labels(found.labels, scene.labels).dice_terms
    return {
        "compile_seconds": round(compilations.seconds, 2),
        "compiled": compilations.compiled.total(),
        "loaded": compilations.loaded.total(),
        "run_seconds": round(seconds, 3),
        "found": len(found.points),
        "f_measure": round(float(points.f_measure), 3),
        "mdice": round(float(np.mean(dice)), 3),
    }


def _gib(size: float | int) -> str:
    """Returns a number of bytes as text."""
    return f"{size / 2**30:.1f} GiB"


_CHECKS: dict[str, Callable[[str], Finding]] = {
    "versions": _versions,
    "extras": _extras,
    "devices": _devices,
    "machine": _memory,
    "cache": _cache,
    "models": _models,
    "self-test": _self_test,
}
