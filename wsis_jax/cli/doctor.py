"""`wsis doctor`: whether wsis_jax works on this machine, and why JAX has no GPU or TPU.

It looks at versions, extras, devices, memory, the cache of compiled programs and the packaged models, and it
segments a drawn scene. Heavy libraries are imported where they are used: so `wsis --help` comes at once, and a
broken library is one finding among others.
"""

import argparse
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distributions, metadata, requires, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wsis_jax.cli.terminal import print_findings, waiting

SUMMARY = "see whether wsis works on this machine"

TEXT = """\
See whether wsis works on this machine: versions and extras, the devices that JAX computes on and why no GPU or TPU
is among them, memory and cores, the cache of compiled programs, and a self-test, which segments a small drawn
scene with the model that comes with the package. The first time, the test takes some ten seconds more to compile.

  wsis doctor
  wsis doctor --json

"broken" marks what keeps wsis from working as it should; the exit code is then 3. "note" marks what is not there
and need not be, such as a GPU that is not used or an extra that is not installed.
"""

SELF_TEST_MODEL = "phase-contrast"
_CELLS, _SIDE, _DIAMETER = 4, 128, 40.0  # of the drawn scene; pixels of the image
# The model of the package finds all four, with a mDice of 0.83; whoever computes something else is far below.
_LEAST_DICE = 0.6
_PROJECT = "wsis-jax"
_OF_CONTRIBUTORS = ("test", "dev")
_LOGGER = "jax._src.xla_bridge"  # says why a backend did not come
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")
_OLDEST_DRIVER = 525  # that runs CUDA 12


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    with waiting("checking this machine, and segmenting a drawn scene"):
        findings = list(examine())
    broken = any(one.status == "broken" for one in findings)
    if arguments.json:
        print(json.dumps({"healthy": not broken, "findings": [one._asdict() for one in findings]}))
    else:
        print_findings(findings)
    return 3 if broken else 0


class Finding(NamedTuple):
    """The result of one check."""

    name: str  # of the check
    status: Literal["ok", "note", "broken"]  # as `TEXT` explains them
    text: str  # what was found
    advice: str  # what to do; empty if there is nothing to do
    facts: dict[str, Any]  # what was found, ready for JSON


def examine() -> Iterator[Finding]:
    """Yields the finding of each check; the self-test, which takes longest, comes last.

    A check that raises is a finding with the status "broken", whatever it raises.
    """
    for name, check in _CHECKS.items():
        try:
            yield check(name)
        except Exception as error:  # a broken library may raise anything
            why = f"{type(error).__name__}: {_first_line(error)}"
            yield Finding(name, "broken", why, "reinstall wsis-jax in a fresh environment", {"error": why})


def _versions(name: str) -> Finding:
    """Checks the versions that results depend on, and finds packages that are missing or of a wrong version."""
    from wsis_jax.core import versions
    from wsis_jax.cutting import chosen_solver

    missing, found = missing_packages(), versions(device=False)
    facts = found | {"system": platform.platform(), "lacking": missing}
    text = ", ".join(f"{package} {number}" for package, number in found.items() if package != "system")
    if chosen_solver("auto") == "scipy":
        text += "; cells are cut by SciPy, since PyMaxflow is not installed"
    if missing:
        return Finding(name, "broken", f"{text}; {'; '.join(missing)}", install_command(), facts)
    return Finding(name, "ok", text, "", facts)


def _extras(name: str) -> Finding:
    """Finds which extras are installed, and the command that installs each of the others.

    One that is not installed is not a fault, but there is nothing to call ok.
    """
    facts = {extra: not missing for extra, missing in extras().items()}
    lines = [
        f"{extra}: {'installed' if here else f'not installed: {install_command(extra)}'}"
        for extra, here in facts.items()
    ]
    return Finding(name, "ok" if all(facts.values()) else "note", "\n".join(lines), "", {"installed": facts})


def _devices(name: str) -> Finding:
    """Finds the devices that JAX computes on, and why there is no accelerator."""
    start = start_jax()
    devices: list[dict[str, Any]] = []
    for one in start.devices:
        memory = (one.memory_stats() or {}).get("bytes_limit")  # None if the backend does not say, as on a CPU
        devices.append({"kind": one.device_kind, "platform": one.platform, "memory": memory})
    shown = [one["kind"] + (f" ({_gib(one['memory'])} for JAX)" if one["memory"] else "") for one in devices]
    facts: dict[str, Any] = {"devices": devices}
    if any(one["platform"] != "cpu" for one in devices):
        return Finding(name, "ok", ", ".join(shown), "", facts)
    reason = why_no_accelerator(surroundings(), start)
    facts["no_accelerator"] = reason.text
    text = f"{', '.join(shown)}; no GPU or TPU: {reason.text}" if shown else reason.text
    return Finding(name, "broken" if reason.broken else "note", text, reason.advice, facts)


def _machine(name: str) -> Finding:
    """Finds memory, cores, and room for temporary files; a system that does not tell one of them leaves it out."""
    from wsis_jax.core import memory

    folder, cores = tempfile.gettempdir(), os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    facts = {"cores": cores, "usable_cores": usable, "temporary_folder": folder}
    facts["temporary_space"] = shutil.disk_usage(folder).free
    parts = [
        f"{usable} of {cores} cores to use",
        f"{_gib(facts['temporary_space'])} for temporary files in {folder}",
    ]
    if hasattr(os, "sysconf"):
        facts["memory"] = memory()
        parts.insert(0, f"{_gib(facts['memory'])} of memory")
        if (available := _available_memory()) is not None:
            facts["available"] = min(available, facts["memory"])
            parts[0] = f"{_gib(facts['available'])} of {_gib(facts['memory'])} free"
    return Finding(name, "ok", "; ".join(parts), "", facts)


def _available_memory() -> int | None:
    """Returns the bytes of memory that programs can still get, or None where the system does not tell."""
    path = Path("/proc/meminfo")  # what sysconf calls available leaves out what the disk cache would give back
    lines = path.read_text().splitlines() if path.is_file() else []
    kibibytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(kibibytes[0]) if kibibytes else None


def _cache(name: str) -> Finding:
    """Checks the cache of compiled programs."""
    from wsis_jax.core import use_compilation_cache

    folder = use_compilation_cache()
    programs = [path for path in folder.glob("*-cache") if path.is_file()]
    size = sum(path.stat().st_size for path in programs)
    facts = {"folder": str(folder), "programs": len(programs), "bytes": size, "writable": _writable(folder)}
    text = f"{len(programs)} compiled programs, {size / 2**20:.1f} MiB, in {folder}"
    if facts["writable"]:
        return Finding(name, "ok", text, "", facts)
    text += "; it cannot be written to, so every process compiles anew"
    return Finding(name, "broken", text, "set JAX_COMPILATION_CACHE_DIR to a folder of yours", facts)


def _writable(folder: Path) -> bool:
    """Tells whether files can be written to a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _models(name: str) -> Finding:
    """Checks the models that come with the package."""
    from wsis_jax.network import packaged_models

    names = packaged_models()
    if SELF_TEST_MODEL in names:
        return Finding(name, "ok", ", ".join(names), "", {"models": names})
    return Finding(name, "broken", f"{SELF_TEST_MODEL} is missing", install_command(), {"models": names})


def _self_test(name: str) -> Finding:
    """Segments a drawn scene with a model of the package, twice, as the first time compiles; checks the result."""
    if start_jax().error is not None:
        return Finding(name, "broken", "skipped, because JAX does not start", "", {})
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
    facts = {
        "compile_seconds": round(compilations.seconds, 2),
        "compiled": compilations.compiled.total(),
        "loaded": compilations.loaded.total(),
        "run_seconds": round(seconds, 3),
        "found": len(found.points),
        "f_measure": round(float(points.f_measure), 3),
        "mdice": round(float(np.mean(dice)), 3),
    }
    text = (
        f"{facts['compile_seconds']:.1f} s to get its programs ({facts['compiled']} compiled, {facts['loaded']} "
        f"from the cache), {facts['run_seconds']:.2f} s to run; of {_CELLS} drawn cells {facts['found']} found, "
        f"F-measure {facts['f_measure']:.2f}, mDice {facts['mdice']:.2f}"
    )
    if facts["f_measure"] == 1 and facts["mdice"] >= _LEAST_DICE:
        return Finding(name, "ok", text, "", facts)
    text += f"; it should be 1 and at least {_LEAST_DICE}: this machine computes wrong numbers"
    return Finding(name, "broken", text, "compare with JAX_PLATFORMS=cpu wsis doctor, and report it", facts)


def _gib(size: float | int) -> str:
    """Returns a number of bytes as text."""
    return f"{size / 2**30:.1f} GiB"


_CHECKS: dict[str, Callable[[str], Finding]] = {
    "versions": _versions,
    "extras": _extras,
    "devices": _devices,
    "machine": _machine,
    "cache": _cache,
    "models": _models,
    "self-test": _self_test,
}


# Packages


def missing_packages() -> list[str]:
    """Returns what wsis_jax itself needs and does not have, as `missing_for` does.

    PyMaxflow is not in it: it may be left out for its licence, and SciPy does its work.
    """
    needed = (one for one in _requirements(_PROJECT, "") if not one.startswith("PyMaxflow"))
    return [line for one in needed for line in missing_for(one)]


def extras() -> dict[str, list[str]]:
    """Returns, for each extra of users, what it needs and does not have; nothing if it is installed."""
    names = metadata(_PROJECT).get_all("Provides-Extra") or []
    return {name: missing_for(f"{_PROJECT}[{name}]") for name in names if name not in _OF_CONTRIBUTORS}


def install_command(extra: str | None = None) -> str:
    """Returns the command that installs an extra, or that repairs the package itself."""
    return f"pip install '{_PROJECT}[{extra}]'" if extra else f"pip install --upgrade {_PROJECT}"


def missing_for(requirement: str) -> list[str]:
    """Returns a line for each package that a requirement, its extras included, needs and does not find.

    A package may be missing ("zarr>=3: not installed") or of another version ("jax<0.13: 0.14 installed").

    Args:
        requirement: as in the metadata of a package, such as "jax[cuda12]>=0.8".
    """
    from packaging.requirements import Requirement

    needed = Requirement(requirement)
    wanted = f"{needed.name}{needed.specifier}"
    try:
        installed = version(needed.name)
    except PackageNotFoundError:
        return [f"{wanted}: not installed"]
    if not needed.specifier.contains(installed, prereleases=True):
        return [f"{wanted}: {installed} installed"]
    by_extras = [one for extra in sorted(needed.extras) for one in _requirements(needed.name, extra)]
    return [line for one in by_extras for line in missing_for(one)]


def _requirements(name: str, extra: str) -> list[str]:
    """Returns what an installed package requires on this system: for an extra alone, or for "" without extras."""
    from packaging.requirements import Requirement

    found = []
    for one in map(Requirement, requires(name) or []):
        always = one.marker is None or one.marker.evaluate({"extra": ""})
        if always if not extra else not always and one.marker and one.marker.evaluate({"extra": extra}):
            found.append(str(one))
    return found


# Devices


class Start(NamedTuple):
    """How JAX started."""

    devices: list[Any]  # of this process; none if JAX did not start
    error: str | None  # why JAX did not start
    log: list[str]  # what JAX logged meanwhile; nothing if it had started before


class Surroundings(NamedTuple):
    """What decides whether JAX can have a GPU or TPU."""

    system: str  # Linux, Darwin, Windows
    platforms: list[str]  # those that JAX_PLATFORMS or `jax.config` allow; none stands for all
    visible: str | None  # CUDA_VISIBLE_DEVICES
    gpus: list[str]  # a line of nvidia-smi for each GPU: name, version of the driver, memory
    smi: str | None  # why nvidia-smi lists no GPU: its message, "" if it lists some, or None without nvidia-smi
    nodes: bool  # whether the driver has made a device file of a GPU in /dev
    plugins: dict[str, str]  # the packages that JAX needs for a GPU or TPU, with their versions
    jaxlib: str  # its version


class Reason(NamedTuple):
    """Why JAX computes on the CPU alone."""

    text: str
    advice: str  # what to do
    broken: bool = False  # whether something is installed that should work and does not


def start_jax() -> Start:
    """Starts JAX if it has not started, and returns how that went; its log messages are collected, not shown."""
    import jax

    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            cause = record.exc_info[1] if record.exc_info else None
            lines.append(f"{record.getMessage()}: {cause}" if cause else record.getMessage())

    logger, collect = logging.getLogger(_LOGGER), Collect()
    before = logger.level, logger.propagate
    logger.addHandler(collect)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        return Start(jax.devices(), None, lines)
    except Exception as error:  # a plugin may raise anything
        # JAX's own advice is left out: ours includes it.
        return Start([], _first_line(error).partition(" (set JAX_PLATFORMS=")[0], lines)
    finally:
        logger.removeHandler(collect)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def why_no_device() -> str | None:
    """Returns why JAX does not start and what to do, or None if it starts."""
    start = start_jax()
    if start.error is None:
        return None
    reason = why_no_accelerator(surroundings(), start)
    return f"{reason.text}; {reason.advice}"


def surroundings() -> Surroundings:
    """Returns what decides whether JAX can have a GPU or TPU on this machine."""
    import jax

    gpus, smi = _nvidia_smi()
    allowed: str | None = jax.config.jax_platforms  # pyrefly: ignore[missing-attribute]
    return Surroundings(
        system=platform.system(),
        platforms=[name for name in (allowed or "").split(",") if name],
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        gpus=gpus,
        smi=smi,
        nodes=any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")),
        plugins={name: version(name) for name in _PLUGINS if any(distributions(name=name))},
        jaxlib=version("jaxlib"),
    )


def why_no_accelerator(around: Surroundings, start: Start) -> Reason:
    """Returns why JAX, which started with the CPU alone or not at all, has no GPU or TPU."""
    platforms = ",".join(around.platforms)
    if start.error is not None and {"cuda", "gpu"} & set(around.platforms):
        why = _why_no_nvidia(around, start)
        text = f"JAX_PLATFORMS={platforms} asks for a GPU that JAX does not get: {why.text}"
        return Reason(text, f"unset JAX_PLATFORMS, or {why.advice}", broken=True)
    if start.error is not None:
        asked = f" with JAX_PLATFORMS={platforms}" if platforms else ""
        advice = (
            "unset JAX_PLATFORMS"
            if platforms
            else f"reinstall JAX ({install_command()}), or set JAX_PLATFORMS=cpu"
        )
        return Reason(f"JAX does not start{asked}: {start.error}", advice, broken=True)
    if platforms == "cpu":
        return Reason("JAX_PLATFORMS=cpu keeps JAX to the CPU", "unset it to use a GPU or TPU")
    if _logged(start, "tpu may be present"):
        return Reason("there is a TPU, but the installed JAX is not the one for it", install_command("tpu"))
    if around.system != "Linux":
        return Reason(f"JAX has no CUDA for {around.system}", "use Linux, or WSL2 on Windows, for a GPU of NVIDIA")
    return _why_no_nvidia(around, start)


def _why_no_nvidia(around: Surroundings, start: Start) -> Reason:
    """Returns why JAX has no GPU of NVIDIA on Linux, where its settings allow one."""
    plugins = {name: number for name, number in around.plugins.items() if "cuda" in name}
    if around.smi:
        # Without a plugin the user did not ask for a GPU: nvidia-smi may just be part of a container.
        text, advice = f"nvidia-smi shows no GPU: {around.smi}", "install or load the driver of NVIDIA"
        return Reason(text, advice, broken=bool(plugins))
    if not around.gpus and not around.nodes:
        advice = "if there is a GPU of NVIDIA, install its driver, or start the container with --gpus all"
        return Reason("there is no driver of NVIDIA: neither nvidia-smi nor /dev/nvidia0", advice)
    gpu = around.gpus[0] if around.gpus else "a GPU of NVIDIA"
    if around.visible is not None and around.visible.strip() in ("", "-1"):
        return Reason(f"CUDA_VISIBLE_DEVICES hides {gpu}", "unset it, or set it to 0")
    if not plugins:
        return Reason(f"{gpu} is there, but the installed JAX is the one for CPUs", install_command("cuda"))
    (name, number), *_ = plugins.items()
    if number.split(".")[:2] != around.jaxlib.split(".")[:2]:
        text = f"{gpu} is there, but {name} {number} does not fit jaxlib {around.jaxlib}"
        return Reason(text, install_command("cuda").replace("install", "install --upgrade"), broken=True)
    if (driver := re.match(r"[^,]*,\s*([0-9]+)\s*(?:[.,]|$)", gpu)) and int(driver[1]) < _OLDEST_DRIVER:
        text = f"{gpu} is there, but its driver is too old for CUDA 12"
        return Reason(text, f"install driver {_OLDEST_DRIVER} or later", broken=True)
    if not around.nodes:
        return Reason(f"{gpu} is there, but not in /dev", "start the container with --gpus all", broken=True)
    logged = _logged(start, "cuda")
    why = logged[0] if logged else start.error or "JAX does not say why; TF_CPP_MIN_LOG_LEVEL=0 shows more"
    return Reason(f"{gpu} is there, but {name} did not start: {why}", install_command("cuda"), broken=True)


def _logged(start: Start, words: str) -> list[str]:
    """Returns the log messages of JAX that contain these words."""
    return [line for line in start.log if words in line.lower()]


def _nvidia_smi() -> tuple[list[str], str | None]:
    """Returns `gpus` and `smi` of `Surroundings`."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return [], None
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], _first_line(error)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return [], (lines or said or [f"exit code {done.returncode}"])[0]
    return lines, ""


def _first_line(error: Exception) -> str:
    """Returns the first line of the message of an exception, or its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
