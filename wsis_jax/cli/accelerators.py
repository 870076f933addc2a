"""Which devices JAX computes on, and, if there is no GPU or TPU among them, why not."""

import logging
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from wsis_jax.cli.installed import command

_LOGGER = "jax._src.xla_bridge"  # says why a backend did not come
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")
_OLDEST_DRIVER = 525  # that runs CUDA 12


class Start(NamedTuple):
    """How JAX started.

    Attributes:
        devices: of this process; none where it did not start.
        error: why it did not, or None.
        log: what JAX logged meanwhile; nothing where it had started before.
    """

    devices: list[Any]
    error: str | None
    log: list[str]


class Surroundings(NamedTuple):
    """What decides whether JAX can have a GPU or TPU.

    Attributes:
        system: Linux, Darwin, Windows.
        platforms: that JAX_PLATFORMS or `jax.config` allow; none: all.
        visible: CUDA_VISIBLE_DEVICES, or None.
        gpus: a line of nvidia-smi for each GPU: name, version of the driver, memory.
        smi: why nvidia-smi shows none: its message, "" where it shows some, or None where there is no nvidia-smi.
        nodes: whether the driver has put a GPU into /dev.
        plugins: the versions of what JAX needs for a GPU or TPU, by package.
        jaxlib: its version.
    """

    system: str
    platforms: list[str]
    visible: str | None
    gpus: list[str]
    smi: str | None
    nodes: bool
    plugins: dict[str, str]
    jaxlib: str


class Reason(NamedTuple):
    """Why JAX computes on the CPU alone.

    Attributes:
        text: what is the matter.
        advice: what to do.
        broken: whether something is there that should work and does not.
    """

    text: str
    advice: str
    broken: bool = False


def start_jax() -> Start:
    """Starts JAX if it has not started, and returns how that went; what it logs is caught."""
    import jax

    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            cause = record.exc_info[1] if record.exc_info else None
            lines.append(f"{record.getMessage()}: {cause}" if cause else record.getMessage())

    logger, keep = logging.getLogger(_LOGGER), Keep()
    before = logger.level, logger.propagate
    logger.addHandler(keep)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        return Start(jax.devices(), None, lines)
    except Exception as error:  # of whatever kind a plugin raises
        # JAX's own advice is part of ours.
        return Start([], _sentence(error).partition(" (set JAX_PLATFORMS=")[0], lines)
    finally:
        logger.removeHandler(keep)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def why_no_device() -> str | None:
    """Returns why JAX does not start and what to do, or None where it does."""
    start = start_jax()
    if start.error is None:
        return None
    reason = why_no_accelerator(look_around(), start)
    return f"{reason.text}; {reason.advice}"


def look_around() -> Surroundings:
    """Returns what decides whether JAX can have a GPU or TPU on this machine."""
    import jax

    gpus, smi = _nvidia_smi()
    plugins = {}
    for name in _PLUGINS:
        try:
            plugins[name] = version(name)
        except PackageNotFoundError:
            continue
    allowed: str | None = jax.config.jax_platforms  # pyrefly: ignore[missing-attribute]
    return Surroundings(
        system=platform.system(),
        platforms=[name for name in (allowed or "").split(",") if name],
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        gpus=gpus,
        smi=smi,
        nodes=any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")),
        plugins=plugins,
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
        advice = "unset JAX_PLATFORMS" if platforms else f"reinstall JAX ({command()}), or set JAX_PLATFORMS=cpu"
        return Reason(f"JAX does not start{asked}: {start.error}", advice, broken=True)
    if platforms == "cpu":
        return Reason("JAX_PLATFORMS=cpu keeps JAX to the CPU", "unset it to use a GPU or TPU")
    if _said(start, "tpu may be present"):
        return Reason("there is a TPU, but the installed JAX is not the one for it", command("tpu"))
    if around.system != "Linux":
        return Reason(f"JAX has no CUDA for {around.system}", "use Linux, or WSL2 on Windows, for a GPU of NVIDIA")
    return _why_no_nvidia(around, start)


def _why_no_nvidia(around: Surroundings, start: Start) -> Reason:
    """Returns why a JAX that may use all platforms of Linux has no GPU of NVIDIA."""
    plugins = {name: number for name, number in around.plugins.items() if "cuda" in name}
    if around.smi:
        # Without a plugin nobody wanted a GPU: nvidia-smi may just be part of a container.
        text, advice = f"nvidia-smi shows no GPU: {around.smi}", "install or load the driver of NVIDIA"
        return Reason(text, advice, broken=bool(plugins))
    if not around.gpus and not around.nodes:
        advice = "if there is a GPU of NVIDIA, install its driver, or start the container with --gpus all"
        return Reason("there is no driver of NVIDIA: neither nvidia-smi nor /dev/nvidia0", advice)
    gpu = around.gpus[0] if around.gpus else "a GPU of NVIDIA"
    if around.visible is not None and around.visible.strip() in ("", "-1"):
        return Reason(f"CUDA_VISIBLE_DEVICES hides {gpu}", "unset it, or set it to 0")
    if not plugins:
        return Reason(f"{gpu} is there, but the installed JAX is the one for CPUs", command("cuda"))
    (name, number), *_ = plugins.items()
    if number.split(".")[:2] != around.jaxlib.split(".")[:2]:
        text = f"{gpu} is there, but {name} {number} does not fit jaxlib {around.jaxlib}"
        return Reason(text, command("cuda").replace("install", "install --upgrade"), broken=True)
    if (driver := _driver(gpu)) is not None and driver < _OLDEST_DRIVER:
        text = f"{gpu} is there, but its driver is too old for CUDA 12"
        return Reason(text, f"install driver {_OLDEST_DRIVER} or later", broken=True)
    if not around.nodes:
        return Reason(f"{gpu} is there, but not in /dev", "start the container with --gpus all", broken=True)
    said = _said(start, "cuda")
    why = said[0] if said else start.error or "JAX does not say why; TF_CPP_MIN_LOG_LEVEL=0 shows more"
    return Reason(f"{gpu} is there, but {name} did not start: {why}", command("cuda"), broken=True)


def _said(start: Start, words: str) -> list[str]:
    """Returns what JAX logged with these words in it."""
    return [line for line in start.log if words in line.lower()]


def _driver(gpu: str) -> int | None:
    """Returns the major version of the driver in a line of nvidia-smi, or None where there is none."""
    numbers = [part.strip().split(".")[0] for part in gpu.split(",")[1:2]]
    return int(numbers[0]) if numbers and numbers[0].isdigit() else None


def _nvidia_smi() -> tuple[list[str], str | None]:
    """Returns `gpus` and `smi` of `Surroundings`."""
    words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return [], None
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], _sentence(error)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return [], (lines or said or [f"exit code {done.returncode}"])[0]
    return lines, ""


def _sentence(error: Exception) -> str:
    """Returns the first line of what an exception says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
