"""Programs that XLA compiles: kept on disk for the next process, and counted.

JAX keeps compiled programs by what tracing gives, so that each process traces anew to find them. `kept_program`
keeps that, too, and `kept_arrays` what a program gave.
"""

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from wsis_jax.core.errors import UserError
from wsis_jax.core.files import replacing
from wsis_jax.core.stages import Stopwatch

_DIGEST = hashlib.sha256
_TREES = 8  # of arrays that are kept
_LARGE = 2**26  # bytes of a tree that is not kept


def use_compilation_cache() -> Path:
    """Keeps compiled programs on disk, for other processes to use, and returns the folder.

    A folder that the user set (JAX_COMPILATION_CACHE_DIR) stays; the default is the user's cache folder.
    """
    users: str | None = jax.config.jax_compilation_cache_dir  # pyrefly: ignore[missing-attribute]
    folder = users or str(_user_cache() / "wsis_jax")
    jax.config.update("jax_compilation_cache_dir", folder)
    # Programs that compile in a blink are kept too: there are dozens, and together they take seconds.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return Path(folder)


def _user_cache() -> Path:
    """Returns the folder that the system keeps caches in."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Compilations:
    """Counts the programs that JAX compiles in this process, from now on.

    Attributes:
        compiled: how often the program of each name was compiled.
        loaded: how often it was found in the cache instead.
        seconds: spent on both, tracing and lowering included.
        stopwatch: that is told of it, as of a stage; None: none is.
    """

    def __init__(self, stopwatch: Stopwatch | None = None) -> None:
        self.stopwatch = stopwatch
        self.compiled: Counter[str] = Counter()
        self.loaded: Counter[str] = Counter()
        self.seconds = 0.0
        self._found = False
        jax.monitoring.register_event_listener(self._on_event)
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def _on_event(self, event: str, **_: str | int) -> None:
        # JAX reports a hit just before it reports how long the program took to load.
        self._found |= event == "/jax/compilation_cache/cache_hits"

    def _on_duration(self, event: str, duration_secs: float, **details: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs
            if self.stopwatch is not None:
                now = time.perf_counter()
                self.stopwatch.note("compile or load", now - duration_secs, now)
        if event != "/jax/core/compile/backend_compile_duration":
            return
        name = str(details.get("fun_name", "a program")).removeprefix("jit(").removesuffix(")")
        (self.loaded if self._found else self.compiled)[name] += 1
        self._found = False

    def summary(self) -> str:
        """Returns one line for a user, and one for each program that was compiled."""
        found, made = self.loaded.total(), self.compiled.total()
        lines = [f"{made} programs compiled, {found} loaded from the cache, in {self.seconds:.1f} s"]
        lines += [f"  {name}: {count}" for name, count in self.compiled.most_common()]
        return "\n".join(lines)


# XLA hands convolutions of 17 channels and more to a library that computes most of ours on one core, whatever
# their number; without it they run on all. It stays in use for sums and matrix products.
_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}


@cache  # asked on first use, not when this file is imported: it starts the backend
def compiler_options() -> dict[str, str]:
    """Returns the options to compile many convolutions with; none where this jaxlib does not know them."""

    def options_are_known() -> jax.Array:
        return jnp.zeros(())

    try:
        jax.jit(options_are_known, compiler_options=_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return _OPTIONS


# Programs that are not traced again


def kept_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function, compiled, that the next process need not trace.

    Where compiled programs are kept (`use_compilation_cache`), what tracing gives is kept beside them, in a file
    whose name tells all that it depends on: the code of this package, the version and settings of JAX, the types
    of the arguments, and the values of those that are not arrays. JAX finds the compiled program by it.

    Args:
        function: of trees of arrays, and of `fixed`, a value that can be hashed and whose `repr` tells it whole.
            Types of its results other than those of Python are registered for `jax.export`.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    plain = jax.jit(function, static_argnames="fixed", compiler_options=compiler_options())
    programs: dict[Hashable, Callable[..., Any]] = {}

    def run(*trees: Any, fixed: Hashable) -> Any:
        folder = _folder()
        if folder is None:
            return plain(*trees, fixed=fixed)
        leaves, structure = jax.tree.flatten(trees)
        types = tuple(jax.typeof(leaf) for leaf in leaves)
        key = structure, types, fixed, _settings()
        if key not in programs:

            def of_leaves(*leaves: Any) -> Any:
                return function(*jax.tree.unflatten(structure, leaves), fixed=fixed)

            file = _file(folder / "traced", (name, *key))
            program = _read(file)
            if program is None:
                program = bytes(export.export(jax.jit(of_leaves))(*leaves).serialize())
                _keep(file, program)
            programs[key] = _named(function.__name__, export.deserialize(bytearray(program)).call)
        return programs[key](*leaves)

    return run


def kept_arrays(make: Callable[[], dict[str, Any]], *, key: Hashable) -> dict[str, Any]:
    """Returns a tree of arrays, as `make` does, which the next process need not do.

    Where compiled programs are kept, the arrays are kept beside them: those of the trees that were used last, but
    for large ones.

    Args:
        make: gives dictionaries, in one another, of arrays.
        key: tells by its `repr` all that the arrays depend on but for the code of this package.
    """
    folder = _folder()
    if folder is None:
        return make()
    from flax.serialization import msgpack_restore, msgpack_serialize

    file = _file(folder / "arrays", key)
    packed = _read(file)
    if packed is not None:
        with suppress(OSError):
            file.touch()  # it is used
        return jax.device_put(msgpack_restore(packed))
    made = jax.device_get(make())
    if sum(leaf.nbytes for leaf in jax.tree.leaves(made)) <= _LARGE:
        _keep(file, msgpack_serialize(made))
        _remove_old(file.parent)
    # Put, as in the next process, which else would not find the programs that are compiled for them.
    return jax.device_put(made)


def _folder() -> Path | None:
    """Returns the folder of this machine in which compiled programs are kept, or None."""
    folder: str | None = jax.config.jax_compilation_cache_dir  # pyrefly: ignore[missing-attribute]
    return None if folder is None or "://" in folder else Path(folder)


def _named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function, compiled by JAX under a name."""

    def program(*leaves: Any) -> Any:
        return call(*leaves)

    program.__name__ = name
    return jax.jit(program, compiler_options=compiler_options())


def _file(folder: Path, key: Hashable) -> Path:
    """Returns the file of a folder in which is kept what depends on a key, and on where it runs."""
    return folder / _DIGEST(repr((key, _circumstances())).encode()).hexdigest()


def _read(file: Path) -> bytes | None:
    """Returns what is kept in a file; None if it is not there or not whole."""
    try:
        content = file.read_bytes()
    except OSError:  # also where another process removes it just now
        return None
    digest, rest = content[: _DIGEST().digest_size], content[_DIGEST().digest_size :]
    return rest if _DIGEST(rest).digest() == digest else None


def _keep(file: Path, content: bytes) -> None:
    """Keeps bytes in a file. As with JAX's own cache: where none can be written, the next process is slower."""
    with suppress(OSError, UserError), replacing(file) as temporary:
        temporary.write_bytes(_DIGEST(content).digest() + content)


def _remove_old(folder: Path) -> None:
    """Removes all files of a folder but those that were used last."""
    with suppress(OSError):
        for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)[:-_TREES]:
            old.unlink()


def _settings() -> str:
    """Returns the settings of JAX, those of a context before those of the process."""
    return repr([(name, getattr(jax.config, name, value)) for name, value in sorted(jax.config.values.items())])


@cache
def _circumstances() -> tuple[str, ...]:
    """Returns what a trace depends on besides function, arguments and settings: the code, and where it runs."""
    package = Path(__file__).parents[1]
    times = [(str(path), path.stat().st_mtime_ns) for path in sorted(package.rglob("*.py"))]
    return jax.__version__, jax.lib.__version__, jax.default_backend(), repr(times)
