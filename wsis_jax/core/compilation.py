"""Compiled programs: the options, the cache that the next process finds them in, and how many there were."""

import os
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp


def use_compilation_cache() -> Path:
    """Keeps compiled programs on disk, where the next process finds them, and returns the folder.

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
    """Counts the programs of this process from now on.

    Attributes:
        compiled: how often the program of each name was compiled.
        loaded: how often it was found in the cache instead.
        seconds: spent on both, tracing and lowering included.
    """

    def __init__(self) -> None:
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
    try:
        jax.jit(lambda: jnp.zeros(()), compiler_options=_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return _OPTIONS
