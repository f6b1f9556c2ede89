"""Commands that score architectures without training each: block-wise distillation and map matching."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli.output import needs_extra, say
from nasbench_kd.cli.training import Device, Download, Images, TaskName
from nasbench_kd.live.tasks import trainable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nasbench_kd.live.laboratory import Laboratory
    from nasbench_kd.live.store import Finished

app = typer.Typer(no_args_is_help=True, help="Scores of architectures that learn from a teacher's maps.")

Seed = Annotated[int, typer.Option(min=1, max=65535, help="Of initial weights, and of what is drawn.")]
Export = Annotated[Path | None, typer.Option(help="Write the scores as a patch, for `data merge`.")]
RandomTeacher = Annotated[
    bool,
    typer.Option("--random-teacher", help="The control: a teacher of the same shape that was never trained."),
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Where what has been done is kept.", show_default="scores in the user folder"),
]


@app.command("dna")
def block_wise(
    task: TaskName,
    seed: Seed = 777,
    random_teacher: RandomTeacher = False,
    export: Export = None,
    folder: Folder = None,
    images: Images = None,
    download: Download = False,
    device: Device = None,
) -> None:
    """Score all cells by block-wise distillation (DNA): three stages of shared weights, some 7 CPU-minutes.

    After Ctrl-C or kill -9 the same command goes on.

    Example:

    ```
    nasbench-kd score dna --task cifar100 --export dna.json
    nasbench-kd data merge dna.json
    ```
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    trainable(task)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.block_wise_scores import BlockWiseScores

        laboratory, place = _laboratory(task, random_teacher, images, download, device, folder)
        kind = "random" if random_teacher else "teacher"
        scoring = BlockWiseScores(laboratory, task, place / f"dna-{task}-{kind}-{seed}.checkpoint", seed=seed)
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        ) as bars:
            parts: dict[str, object] = {}

            def show(what: str, done: int, every: int) -> None:
                if what not in parts:
                    parts[what] = bars.add_task(what, total=every)
                bars.update(parts[what], completed=done)  # type: ignore[arg-type]

            errors = scoring.run(show)
        _export(export, scoring.entries(errors))


@app.command("rmi")
def map_matching(
    task: TaskName,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help="How many classes of the fixed random order.", show_default="all"),
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    seed: Seed = 777,
    random_teacher: RandomTeacher = False,
    export: Export = None,
    folder: Folder = None,
    images: Images = None,
    download: Download = False,
    device: Device = None,
) -> None:
    """Score classes by map matching (RMI-NAS): each learns a teacher's maps of 32 images for 75 steps.

    Every score is stored at once; after Ctrl-C or kill -9 the same command goes on, and several may work at once.

    Example:

    ```
    nasbench-kd score rmi --task cifar100 --classes 1000 --hours 2 --export rmi.json
    ```
    """
    from rich.progress import track

    trainable(task)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.map_matching_scores import MapMatchingScores
        from nasbench_kd.live.store import Store

        laboratory, place = _laboratory(task, random_teacher, images, download, device, folder)
        store = Store(place / "rmi.db")
        deadline = float("inf") if hours is None else time.monotonic() + 3600 * hours
        scoring = MapMatchingScores(laboratory, task, seed=seed)
        wanted = scoring.missing(store, classes)
        for cell in track(wanted, "rmi", disable=not wanted):
            if time.monotonic() > deadline:
                break
            scoring.score_into(store, cell)
        found = scoring.finished(store)
        say(f"{len(found)} classes are scored")
        _export(export, found)


def _laboratory(
    task: str,
    random_teacher: bool,
    images: Path | None,
    download: bool,
    device: str | None,
    folder: Path | None,
) -> tuple[Laboratory, Path]:
    """The laboratory, with the teacher that is asked for, and the folder of what has been done."""
    from dataclasses import replace

    from nasbench_kd.live.clock import use_one_thread
    from nasbench_kd.live.fill import keep_freed_memory
    from nasbench_kd.live.images import STATISTICS
    from nasbench_kd.live.laboratory import Laboratory
    from nasbench_kd.live.oracle import default_device, default_sources
    from nasbench_kd.live.teacher import TeacherFile, write_random_teacher
    from nasbench_kd.tables.catalog import user_folder

    use_one_thread()
    keep_freed_memory()
    place = folder or user_folder() / "scores"
    place.mkdir(parents=True, exist_ok=True)
    sources = default_sources(images, download=download)
    if random_teacher:
        path = place / f"random-teacher-{task}.npz"
        known = TeacherFile(path, control=True)
        control = known if path.exists() else write_random_teacher(path, STATISTICS[task].classes)
        sources = replace(sources, teachers={task: control})
    return Laboratory(sources, device=device or default_device()), place


def _export(path: Path | None, entries: Sequence[Finished]) -> None:
    from nasbench_kd.live.export import write_patch

    if path is not None:
        say(f"{write_patch(path, entries)} scores written to {path}")
