"""Slurm through submitit: calls are jobs of an array."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from nasbench_kd.errors import ClusterError
from nasbench_kd.executors.executor import Executor
from nasbench_kd.executors.parts import Answer, Call, Lost, Parts

_WAIT_SECONDS: Final = 0.5
_AT_ONCE: Final = 100
_MINUTES: Final = 60


def slurm_executor(
    folder: Path,
    *,
    at_once: int | None = None,
    gpus: int = 0,
    sbatch: Mapping[str, str] | None = None,
    cluster: Literal["slurm", "local"] = "slurm",
) -> Executor:
    """The executor of Slurm; raises `ModuleNotFoundError` where submitit is not installed.

    Args:
        folder: where submitit keeps calls, answers and logs; on a file system that all machines share.
        at_once: jobs in the queue at a time (default: 100), each of one processor and `gpus` GPUs.
        sbatch: options of `sbatch` by their long names, such as `{"partition": "cpu", "time": "120"}`; a job
            may take 60 minutes where `time` says nothing else.
        cluster: `"local"` runs the jobs as processes here, without Slurm.

    Raises:
        ClusterError: there is no Slurm here.
    """
    import submitit  # noqa: PLC0415  # an extra

    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        raise ClusterError(f"jobs cannot be handed to Slurm from here: {error}") from error
    at_once = at_once or _AT_ONCE
    executor.update_parameters(timeout_min=_MINUTES, gpus_per_node=gpus or None)
    if cluster == "slurm":
        executor.update_parameters(
            name="nasbench-kd",
            cpus_per_task=1,
            slurm_array_parallelism=at_once,
            slurm_additional_parameters=dict(sbatch or {}),
        )
    return Parts(_Slurm(submitit, executor, at_once))


class _Slurm:
    """Sends calls to Slurm."""

    def __init__(self, submitit: Any, executor: Any, at_once: int) -> None:
        self._submitit = submitit
        self._executor = executor
        self.at_once = at_once

    def submit(self, calls: Sequence[Call]) -> Sequence[Any]:
        try:
            return list(self._executor.map_array(Call.make, calls))
        except self._submitit.core.utils.FailedSubmissionError as error:
            raise ClusterError(f"Slurm does not take the jobs: {error}") from error

    def done(self, handles: Sequence[Any]) -> Sequence[Any]:
        ended = [job for job in handles if job.done()]
        if not ended:
            time.sleep(_WAIT_SECONDS)
        return ended

    def answer(self, handle: Any) -> Answer:
        try:
            return Answer(*handle.result())
        except self._submitit.core.utils.FailedJobError as error:
            raise ClusterError(
                f"the cluster cannot do the work; has it the same packages?\n{error}"
            ) from error
        except self._submitit.core.utils.UncompletedJobError as error:
            raise Lost(str(error).strip().splitlines()[0]) from error

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            handle.cancel()
