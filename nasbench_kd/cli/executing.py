"""Where the work of a command is done: options and the executor behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli.output import needs_extra

if TYPE_CHECKING:
    from nasbench_kd.executors.executor import Executor


class Where(StrEnum):
    """Names of executors."""

    processes = "processes"
    ray = "ray"
    slurm = "slurm"


ExecutorOption = Annotated[
    Where,
    typer.Option(
        "--executor",
        help="Where: processes here, a Ray cluster (the one that RAY_ADDRESS or this machine names, else one of this "
        "machine alone), or arrays of Slurm jobs.",
    ),
]
SbatchOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Option of sbatch, such as partition=cpu or time=120 (minutes; 60 if not given); may be repeated.",
        show_default="none",
    ),
]


@contextmanager
def chosen_executor(
    where: Where, folder: Path, at_once: int | None, sbatch: list[str] | None, *, gpus: int = 0
) -> Iterator[Executor | None]:
    """Yield the executor that was asked for; None for processes here.

    Slurm's calls, answers and logs lie in `folder`. Raises `MissingDependencyError` and `ClusterError`.
    """
    if sbatch and where is not Where.slurm:
        raise typer.BadParameter("it is for --executor slurm", param_hint="--sbatch")
    if where is Where.processes:
        yield None
        return
    options = dict(_option(each) for each in sbatch or ())
    with ExitStack() as opened:
        with needs_extra("cluster", f"runs by {where.value}"):
            executor = opened.enter_context(_opened(where, folder, at_once, options, gpus))
        yield executor


def _opened(
    where: Where, folder: Path, at_once: int | None, sbatch: dict[str, str], gpus: int
) -> AbstractContextManager[Executor]:
    if where is Where.ray:
        from nasbench_kd.executors.ray_cluster import ray_executor

        return ray_executor(at_once=at_once, gpus=gpus)
    from nasbench_kd.executors.slurm_cluster import slurm_executor

    return nullcontext(slurm_executor(folder, at_once=at_once, gpus=gpus, sbatch=sbatch))


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"expected NAME=VALUE, not {text!r}", param_hint="--sbatch")
    return name.removeprefix("--"), value
