"""Commands that score architectures without training each: shared weights, block-wise distillation, map matching."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nasbench_kd.cli.output import needs_extra, say
from nasbench_kd.cli.training import Device, Download, Images, TaskName
from nasbench_kd.files import check_writable
from nasbench_kd.live.methods import check_search, searches
from nasbench_kd.live.tasks import trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nasbench_kd.live.laboratory import Laboratory
    from nasbench_kd.live.store import Finished
    from nasbench_kd.spaces.space import Architecture

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
    _check_export(export)
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
        typer.Option(
            help="What steps train: one architecture, five fair ones, or one and then five sub-supernets."
        ),
    ] = "uniform",
    small: Annotated[
        bool,
        typer.Option("--small", help="One cell a stage, 10,000 images: some quarters of an hour on a CPU."),
    ] = False,
    architectures: Annotated[
        int, typer.Option(min=1, help="How many are scored: class representatives in one fixed random order.")
    ] = 100,
    seed: Seed = 777,
    one_batch: Annotated[
        bool,
        typer.Option("--one-batch", help="Also say which is best on one batch of 512 each, as papers judge."),
    ] = False,
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
    _check_export(export)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.fill import class_order
        from nasbench_kd.live.supernet.scores import SupernetScores, answers, correlation
        from nasbench_kd.tasks.shared_weights import SUPERNETS

        name = "-".join(["supernet", *(["small"] if small else []), *([] if paths == "uniform" else [paths])])
        laboratory, place = _laboratory(task, False, images, download, device, folder)
        scoring = SupernetScores(
            laboratory, task, place / f"{name}-{task}-{seed}.checkpoint", name=name, seed=seed
        )
        asked = class_order()[:architectures]
        with _bars() as show:
            known = scoring.run(asked, show)
        scores = {cell.index: known[cell.index] for cell in asked}  # earlier calls may have scored more
        found = answers(scores)
        if one_batch:
            found["best on one batch of 512 each"] = scoring.one_batch_answer(asked)
        for rule, cell in found.items():
            say(f"{rule}: cell {cell.index}, {cell}{_in_the_table(task, cell)}")
        price = SUPERNETS[name].seconds(trainable(task).train_images)
        entries = scoring.entries(scores)
        spent = sum(sum(entry.seconds) for entry in entries)
        say(
            f"{len(scores)} scores; a search pays {price:,.0f} s for the weights and {spent:,.0f} s for these scores"
        )
        if (ranked := correlation(task, scores)) is not None:
            tau, low, high = ranked["tau, low, high"]["all"]
            size, least, most = ranked["tau, low, high of parameters"]["all"]
            say(
                f"tau with {ranked['cells']} accuracies after 12 epochs: {tau:.2f}, 95 % {low:.2f} to {high:.2f}; "
                f"that of their numbers of parameters: {size:.2f}, {least:.2f} to {most:.2f}"
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
    steps: Annotated[
        Literal["75", "150"],
        typer.Option(help="Of each training: 150 are published, 75 rank as well; a score of its own each."),
    ] = "75",
    seed: Seed = 777,
    random_teacher: RandomTeacher = False,
    export: Export = None,
    folder: Folder = None,
    images: Images = None,
    download: Download = False,
    device: Device = None,
) -> None:
    """Score classes by map matching (RMI-NAS): each learns a teacher's maps of 32 images for some steps.

    Every score is stored at once; after Ctrl-C or kill -9 the same command goes on, and several may work at once.

    Example:

    ```
    nasbench-kd score rmi --task cifar100 --classes 1000 --hours 2 --export rmi.json
    ```
    """
    from rich.progress import track

    trainable(task)
    _check_export(export)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.map_matching_scores import MapMatchingScores
        from nasbench_kd.live.store import Store

        laboratory, place = _laboratory(task, random_teacher, images, download, device, folder)
        store = Store(place / "rmi.db")
        deadline = float("inf") if hours is None else time.monotonic() + 3600 * hours
        scoring = MapMatchingScores(laboratory, task, seed=seed, students=students, steps=int(steps))
        wanted = scoring.missing(store, classes)
        parts = [wanted[start : start + students] for start in range(0, len(wanted), students)]
        for cells in track(parts, "rmi", disable=not wanted):
            if time.monotonic() > deadline:
                break
            scoring.score_into(store, cells)
        found = scoring.finished(store)
        say(f"{len(found)} classes are scored")
        _export(export, found)


def search_supernet(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help=f"{', '.join(searches())}.",
            autocompletion=lambda: list(searches()),
        ),
    ],
    task: TaskName,
    small: Annotated[
        bool,
        typer.Option(
            "--small",
            help="One cell a stage, 2,000 images, 3 epochs: some CPU-minutes, to see the method run.",
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Epochs over the images of the weights.",
            show_default="the published ones",
        ),
    ] = None,
    held_out: Annotated[
        Literal["training", "validation"],
        typer.Option(
            help="Images that teach parameters and judge candidates: the other half of the training images, or the "
            "validation images, as in most published runs."
        ),
    ] = "training",
    one_batch: Annotated[
        bool,
        typer.Option(
            "--one-batch", help="setn, enas: judge candidates on one batch of 512 each, as papers do."
        ),
    ] = False,
    bound: Annotated[
        float | None,
        typer.Option(min=0, help="rc-darts: most seconds of its edges for an epoch of 25,000 images."),
    ] = None,
    seed: Seed = 777,
    export: Annotated[
        Path | None, typer.Option(help="Write how the answer was found as JSON: counts, parameters, answer.")
    ] = None,
    folder: Folder = None,
    images: Images = None,
    download: Download = False,
    device: Device = None,
) -> None:
    """Search over shared weights: train a supernet and what chooses in it together, end with one architecture.

    darts-v1 and darts-v2 learn the weights of mixed operations by gradient; gdas runs one sampled operation of every
    edge, drnas draws mixtures from a Dirichlet distribution, idarts goes through the optimum of the weights, and
    rc-darts keeps within a bound of cost. setn and enas sample architectures, by parameters or by a controller that
    policy gradients teach, and judge the best of them with the shared weights.

    The answer is looked up in the table, not trained. The bill is counted images times the table's clock. After Ctrl-C
    or kill -9 the same command goes on. Without `--small` a search takes GPU-hours or CPU-days;
    no published accuracy was reproduced here. `nasbench-kd optimizers --live` names the papers.

    Examples:

    ```
    nasbench-kd search-supernet darts-v1 --task cifar10 --small
    nasbench-kd search-supernet gdas --task cifar100 --device cuda --export gdas.json
    nasbench-kd search-supernet rc-darts --task cifar10 --small --bound 4
    ```
    """
    trainable(task)
    check_search(method, bound)
    _check_export(export)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.supernet.search import SMALL, Recipe, SupernetSearch, write_record

        laboratory, place = _laboratory(task, False, images, download, device, folder)
        recipe = SMALL if small else Recipe(searches()[method])
        recipe = recipe._replace(
            epochs=epochs or recipe.epochs, held_out=held_out, one_batch=one_batch, bound=bound
        )
        size = "-small" if small else ""
        search = SupernetSearch(
            laboratory, task, place / f"{method}{size}-{task}-{seed}.checkpoint",
            method=method, seed=seed, recipe=recipe,
        )  # fmt: skip
        with _bars() as show:
            answer = search.run(show)
        record = search.record()
        say(f"answer of {method}: cell {answer.index}, {answer}{_in_the_table(task, answer)}")
        for what, count in record["counts"].items():
            if count:
                say(f"{what.replace('_', ' ')}: {count:,}")
        say(f"counted: {record['counted_seconds']:,.1f} s on the table's clock, for the search alone")
        if held_out == "validation":
            say(
                "parameters were taught on the images by which the table's validation accuracy is measured: it is no "
                "fair signal of this answer"
            )
        if recipe.epochs < searches()[method] or small:
            say(
                f"{recipe.epochs} epochs{' of a small network' if small else ''}, where {searches()[method]} of the "
                "full one are published: this shows that the method runs, not what it finds"
            )
        if export is not None:
            write_record(export, record)
            say(f"written to {export}")


def _in_the_table(task: str, cell: Architecture) -> str:
    """What the table says of an answer, in words; nothing where it has no such task."""
    from nasbench_kd.live.supernet.search import look_up

    if (found := look_up(task, cell)) is None:
        return ""
    return f"; after 200 epochs in the table {found.accuracy:.2f} % on validation, {found.regret:.2f} below its best"


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


def _check_export(path: Path | None) -> None:
    if path is not None:
        check_writable(path)


def _export(path: Path | None, entries: Sequence[Finished]) -> None:
    from nasbench_kd.live.export import write_patch

    if path is not None:
        say(f"{write_patch(path, entries)} scores written to {path}")
