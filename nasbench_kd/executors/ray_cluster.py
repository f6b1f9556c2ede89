"""Ray: calls are tasks of a cluster, or of a local one that ends with the work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from nasbench_kd.errors import ClusterError
from nasbench_kd.executors.executor import Executor
from nasbench_kd.executors.parts import Answer, Call, Lost, Parts

_WAIT_SECONDS: Final = 1.0


@contextmanager
def ray_executor(*, at_once: int | None = None, gpus: float = 0) -> Iterator[Executor]:
    """Yield the executor of a Ray cluster; raises `ModuleNotFoundError` where Ray is not installed,
    and `ClusterError`.

    It is the cluster that this process is connected to already, or that `RAY_ADDRESS` or a `ray start` on this
    machine names, or else a local one, which is stopped in the end. Every call takes one processor and `gpus`
    GPUs. `at_once` is the number of calls at a time (default: as many as the cluster has places for).
    """
    import ray  # noqa: PLC0415  # an extra

    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(include_dashboard=None if os.environ.get("RAY_ADDRESS") else False)
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(f"Ray cannot be reached or started: {error}") from error
    try:
        yield Parts(_Ray(ray, at_once, gpus))
    finally:
        if started:
            ray.shutdown()


class _Ray:
    """Sends calls to Ray."""

    def __init__(self, ray: Any, at_once: int | None, gpus: float) -> None:
        self._ray = ray
        have = ray.cluster_resources()
        places = have.get("GPU", 0) / gpus if gpus else have.get("CPU", 1)
        self.at_once = at_once or max(1, int(places))
        # Sent again here, so that all clusters do it alike and the number of attempts can be told.
        self._call = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(Call.make)

    def submit(self, calls: Sequence[Call]) -> Sequence[Any]:
        return [self._call.remote(call) for call in calls]

    def done(self, handles: Sequence[Any]) -> Sequence[Any]:
        ended, _ = self._ray.wait(list(handles), num_returns=1, timeout=_WAIT_SECONDS)
        return list(ended)

    def answer(self, handle: Any) -> Answer:
        try:
            return Answer(*self._ray.get(handle))
        except self._ray.exceptions.RayTaskError as error:
            raise ClusterError(
                f"the cluster cannot do the work; has it the same packages?\n{error}"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise Lost(f"{type(error).__name__}: {error}") from error

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            self._ray.cancel(handle, force=True)
