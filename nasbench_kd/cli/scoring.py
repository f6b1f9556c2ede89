"""Commands that score architectures without training each: shared weights, block-wise distillation, map matching."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nasbench_kd.cli.output import needs_extra, say
from nasbench_kd.cli.training import Device, Download, Images, TaskName
from nasbench_kd.live.tasks import trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nasbench_kd.live.laboratory import Laboratory
    from nasbench_kd.live.store import Finished

app = typer.Typer(no_args_is_help=True, help="Scores of architectures that are not trained one by one.")


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
    trainable(task)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.block_wise_scores import BlockWiseScores

        laboratory, place = _laboratory(task, random_teacher, images, download, device, folder)
        kind = "random" if random_teacher else "teacher"
        scoring = BlockWiseScores(laboratory, task, place / f"dna-{task}-{kind}-{seed}.checkpoint", seed=seed)
        with _bars() as show:
            errors = scoring.run(show)
        _export(export, scoring.entries(errors))


@app.command("supernet")
def shared_weights(
    task: TaskName,
    paths: Annotated[
        Literal["uniform", "fair", "few-shot"],
        typer.Option(help="What steps train: one architecture, five fair ones, or five sub-supernets apart."),
    ] = "uniform",
    small: Annotated[
        bool,
        typer.Option("--small", help="One cell a stage, 10,000 images: some quarters of an hour on a CPU."),
    ] = False,
    architectures: Annotated[
        int, typer.Option(min=1, help="How many are scored: class representatives in one fixed random order.")
    ] = 100,
    seed: Seed = 777,
    export: Export = None,
    folder: Folder = None,
    images: Images = None,
    download: Download = False,
    device: Device = None,
) -> None:
    """Train a supernet (RSPS, SPOS, FairNAS, few-shot) and score architectures by their accuracy in it.

    The answers are the best score and the vote of the best tenth. After Ctrl-C or kill -9 the same command goes on;
    with more architectures it scores the others on the same weights.

    Example:

    ```
    nasbench-kd score supernet --task cifar10 --small --architectures 200 --export supernet.json
    ```
    """
    trainable(task)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.fill import class_order
        from nasbench_kd.live.supernet.scores import SupernetScores, answers, correlation
        from nasbench_kd.tasks.shared_weights import SUPERNETS

        name = "-".join(["supernet", *(["small"] if small else []), *([] if paths == "uniform" else [paths])])
        laboratory, place = _laboratory(task, False, images, download, device, folder)
        scoring = SupernetScores(
            laboratory, task, place / f"{name}-{task}-{seed}.checkpoint", name=name, seed=seed
        )
        with _bars() as show:
            scores = scoring.run(class_order()[:architectures], show)
        for rule, cell in answers(scores).items():
            say(f"{rule}: cell {cell.index}, {cell}")
        price = SUPERNETS[name].seconds(trainable(task).train_images)
        entries = scoring.entries(scores)
        spent = sum(sum(entry.seconds) for entry in entries)
        say(
            f"{len(scores)} scores; a search pays {price:,.0f} s for the weights and {spent:,.0f} s for these scores"
        )
        if (found := correlation(task, scores)) is not None:
            tau, low, high = found["tau, low, high"]["all"]
            say(
                f"tau with {found['cells']} accuracies after 12 epochs: {tau:.2f}, 95 % {low:.2f} to {high:.2f}"
            )
            if high < 0:
                say("these weights rank backwards: they are trained too little to choose by")
        _export(export, entries)


@app.command("rmi")
def map_matching(
    task: TaskName,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help="How many classes of the fixed random order.", show_default="all"),
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    students: Annotated[
        int, typer.Option(min=1, help="How many train side by side: a thousand fit on a large GPU.")
    ] = 1,
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
        scoring = MapMatchingScores(laboratory, task, seed=seed, students=students)
        wanted = scoring.missing(store, classes)
        parts = [wanted[start : start + students] for start in range(0, len(wanted), students)]
        for cells in track(parts, "rmi", disable=not wanted):
            if time.monotonic() > deadline:
                break
            scoring.score_into(store, cells)
        found = scoring.finished(store)
        say(f"{len(found)} classes are scored")
        _export(export, found)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars, one for each thing that is done, told by its name, what is done of it, and all of it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bars:
        parts: dict[str, TaskID] = {}

        def show(what: str, done: int, every: int) -> None:
            if what not in parts:
                parts[what] = bars.add_task(what, total=every)
            bars.update(parts[what], completed=done)

        yield show


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
