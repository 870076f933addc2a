"""Clusters: what the workers of a Dask cluster do, asked for and waited for from one process.

A task is a function of this package, called in a worker with the
run, which each worker loads once from its folder, as the process that asks did: both must see the same files. A
task whose worker dies is done again by another.
"""

import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wsis_jax.core import use_compilation_cache
from wsis_jax.core.errors import UserError
from wsis_jax.network import Model, best_weights, load_model, model_folder
from wsis_jax.segmentation.manifest import key_of

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE = 300.0
"""Seconds that a cluster may be without any worker."""

_GLANCE = 2.0  # seconds after which it is asked whether there are workers still

# One task at a time, however many threads a worker has: they share the current folder and the warnings.
_ALONE = threading.Lock()


class WorkersDied(UserError):
    """A task of which all workers died that were at it."""


class _Stored(NamedTuple):
    """A run as workers are told of it: its folder, or its name, and the digest of its files."""

    folder: str
    digest: str


@dataclass(frozen=True)
class _Sealed:
    """What is the same for many tasks, in which Dask is not to look for tasks."""

    same: dict[str, Any]


class Workers:
    """The workers of a Dask cluster and the run that they work with.

    Attributes:
        run: the run, as `load_model` reads it here.
    """

    def __init__(self, client: "Client", model: str | Path) -> None:
        """Takes a client of the cluster, and the folder of a run that all its workers see, or a packaged name.

        Errors are those of `load_model`.
        """
        folder = model_folder(model)
        self.model, self._client = load_model(model), client
        self._stored = _Stored(str(model if folder != Path(model) else folder.resolve()), _digest(folder))

    def submit(self, function: Callable[..., Any], **same: Any) -> "Future":
        """Has a worker call a function of a module; if it is given our `run`, then with that of the worker."""
        return self._submit(function, [], self._seal(same))

    def over(self, function: Callable[..., Any], parts: Iterable[Any], **same: Any) -> Iterator[Any]:
        """Has workers call a function with each part; see `windows.Over`.

        Raises:
            WorkersDied: if a part ends all workers that try it.
            UserError: if the cluster is gone.
        """
        # As a task, what is the same is sent to each worker once, and made again if it is lost.
        sealed = self._client.submit(_as_it_is, self._seal(same), pure=False)
        waiting: deque[Future] = deque()
        for part in parts:
            waiting.append(self._submit(function, [part], sealed))
            # Results that nobody has taken yet must not fill the memory of the workers.
            while len(waiting) > 2 * max(self._count(), 2):
                yield self.result(waiting.popleft())
        while waiting:
            yield self.result(waiting.popleft())

    def result(self, task: "Future") -> Any:
        """Waits for the result of a task; an error is its own, or one of `over`."""
        from distributed import CancelledError, KilledWorker

        alive = time.monotonic()
        while True:
            try:
                return task.result(timeout=_GLANCE)
            except KilledWorker as error:
                raise WorkersDied(
                    f"{error.allowed_failures + 1} workers died while they were at it, most likely for want of "
                    "memory; give them more, or make it smaller tasks with --tiles"
                ) from error
            except CancelledError as error:
                raise _gone(self._client) from error
            except TimeoutError:
                if task.status == "error":  # it is the task's own
                    raise
                if self._count():
                    alive = time.monotonic()
                elif time.monotonic() - alive > PATIENCE:
                    raise UserError(
                        f"{_address(self._client)}: there has been no worker for {PATIENCE:.0f} seconds; start "
                        "some, and call the same command again: it goes on where it stopped"
                    ) from None

    def _submit(self, function: Callable[..., Any], parts: list[Any], sealed: Any) -> "Future":
        return self._client.submit(_call, function, _Sealed({"parts": parts}), sealed, str(Path.cwd()), pure=False)

    def _seal(self, same: dict[str, Any]) -> _Sealed:
        return _Sealed({key: self._stored if value is self.model else value for key, value in same.items()})

    def _count(self) -> int:
        """Returns how many workers there are."""
        try:
            return len(self._client.nthreads())
        except OSError as error:
            raise _gone(self._client) from error


def _call(function: Callable[..., Any], parts: _Sealed, sealed: _Sealed, folder: str) -> Any:
    """Calls a function in a worker, in the folder of the process that asked: paths mean the same."""
    import dask

    with _ALONE, dask.config.set(scheduler="synchronous"):  # a worker that asked others would wait for itself
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: the worker on {platform.node()} does not see this folder; call from one that all "
                "machines share"
            ) from error
        same = {
            key: _loaded(*value) if isinstance(value, _Stored) else value for key, value in sealed.same.items()
        }
        return function(*parts.same["parts"], **same)


def _as_it_is(sealed: _Sealed) -> _Sealed:
    return sealed


@lru_cache(maxsize=1)
def _loaded(folder: str, digest: str) -> Model:
    """Returns the run of a folder, once a process."""
    use_compilation_cache()
    if _digest(model_folder(folder)) != digest:
        raise UserError(f"{folder}: the worker sees another model here; give it the same files, or restart it")
    return load_model(folder)


def _digest(folder: Path) -> str:
    """Returns a digest of the settings and weights of a run folder."""
    weights = best_weights(folder)
    return key_of(weights, f"{weights.name} {key_of(folder / 'config.json', '')}")


def _gone(client: "Client") -> UserError:
    return UserError(
        f"{_address(client)}: the scheduler of Dask is gone; start it again, and call the same command: it goes "
        "on where it stopped"
    )


def _address(client: "Client") -> str:
    return str(getattr(client.scheduler, "address", "the cluster"))
