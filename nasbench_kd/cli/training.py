"""Commands of live mode: train a cell, fill a table, train a teacher."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from nasbench_kd.cli import completion
from nasbench_kd.cli.executing import ExecutorOption, SbatchOption, Where, chosen_executor
from nasbench_kd.cli.output import AsJson, needs_extra, parse_cell, print_json, say
from nasbench_kd.errors import ClusterError, NasbenchKDError, StoreError
from nasbench_kd.live.tasks import trainable
from nasbench_kd.tasks.fidelity import Fidelity

teacher_app = typer.Typer(no_args_is_help=True, help="Teachers that distilled trainings learn from.")

TaskName = Annotated[
    str, typer.Option(help="cifar10, cifar100 or imagenet16-120.", autocompletion=completion.tasks)
]
Images = Annotated[
    Path | None,
    typer.Option(
        envvar="NASBENCH_KD_IMAGES",
        help="Folder of images, split lists and teachers/TASK.npz.",
        show_default="images in the user folder",
    ),
]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision fetch CIFAR into the folder.")]
Device = Annotated[
    str | None, typer.Option(help="Such as cpu or cuda:0.", show_default="a GPU if there is one")
]


def train(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Index or string of the cell.")],
    task: TaskName,
    fidelity: Annotated[
        str,
        typer.Option(
            help="How to train: none@12, nst@4/12, 'kd@3 images=2000 size=8'.",
            autocompletion=completion.fidelities,
        ),
    ],
    seed: Annotated[int, typer.Option(help="Training seed.")] = 777,
    images: Images = None,
    download: Download = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train one cell and print its curve, epoch by epoch.

    Example:

    ```
    nasbench-kd train 11 --task cifar10 --fidelity 'kd@3 images=2000 batch=64 size=8 cells=2'
    ```
    """
    chosen, parsed = parse_cell(cell, trainable(task).space), Fidelity.parse(fidelity)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.clock import use_one_thread
        from nasbench_kd.live.laboratory import Laboratory
        from nasbench_kd.live.oracle import default_device, default_sources
        from nasbench_kd.live.store import TrainingJob

        use_one_thread()
        laboratory = Laboratory(default_sources(images, download=download), device=device or default_device())
        training = laboratory.training(TrainingJob(task, str(parsed.curve), seed, chosen.index))
        valid = len(training.workbench.valid)
        while not training.done and training.curve.epochs < parsed.epochs:
            training.run_epoch()
            curve = training.curve
            if not as_json:
                accuracy = 100 * curve.valid_correct[-1] / valid
                losses = "  ".join(
                    f"{signal} {curve.readings[signal][-1]:.4f}"
                    for signal, count in training.readings.items()
                    if count is None and signal.startswith("train_")
                )
                say(
                    f"epoch {curve.epochs:3d}/{parsed.schedule_epochs}  {accuracy:6.2f} %  "
                    f"{sum(curve.train_seconds):8.1f} s  {losses}"
                )
    curve = training.curve
    if as_json:
        print_json(
            {
                "task": task,
                "cell": chosen.index,
                "fidelity": str(parsed),
                "seed": seed,
                "valid_images": valid,
                "valid_correct": list(curve.valid_correct),
                "readings": {
                    signal: {"images": count, "values": curve.readings[signal]}
                    for signal, count in training.readings.items()
                },
                "seconds": list(curve.train_seconds),
                "status": "diverged" if curve.diverged else "ok",
            }
        )
    elif curve.diverged:
        say("the training diverged: its loss is not finite")


def fill(
    task: TaskName,
    fidelity: Annotated[
        list[str],
        typer.Option(
            help="Training to measure; give it several times for a fair comparison.",
            autocompletion=completion.fidelities,
        ),
    ],
    hours: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help="How many classes of the fixed random order.", show_default="all"),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Training seeds.", show_default="777")] = None,
    database: Annotated[
        Path | None, typer.Option(help="Where entries are kept.", show_default="live.db in the user folder")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write all entries as a patch file at the end.")] = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation/--no-validation",
            help="Whether to validate after each epoch; without it trainings cost less and are read by their losses.",
        ),
    ] = True,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="One worker for each, such as cpu or cuda:0.", show_default="one, on a GPU if there is one"
        ),
    ] = None,
    executor: ExecutorOption = Where.processes,
    at_once: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trainings at a time on a cluster.", show_default="as many as it has room for"
        ),
    ] = None,
    sbatch: SbatchOption = None,
    images: Images = None,
    download: Download = False,
) -> None:
    """Measure missing entries: one cell of each isomorphism class, in one fixed random order.

    What the installed tables hold as measured is not trained again. Every finished cell is stored at once; after
    Ctrl-C or kill -9 the same command goes on. Where entries are missing at the end (the time is over, another fill
    has claimed them), it says which and why, and the exit status is 2.

    Examples:

    ```
    nasbench-kd fill --task cifar10 --fidelity 'none@3 images=2000 size=8' --hours 2 --device cpu --device cpu
    nasbench-kd fill --task cifar10 --fidelity none@12 --fidelity nst@12 --export patch.json
    nasbench-kd data merge patch.json
    ```
    """
    trainable(task)
    curves = tuple(str(Fidelity.parse(text).curve) for text in fidelity)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.clock import measure_clock, use_one_thread
        from nasbench_kd.live.export import write_patch
        from nasbench_kd.live.fill import Phase, class_order, tabulated
        from nasbench_kd.live.fill import fill as run
        from nasbench_kd.live.laboratory import Laboratory
        from nasbench_kd.live.oracle import default_device, default_sources
        from nasbench_kd.live.store import Store, TrainingJob
        from nasbench_kd.tables.catalog import tables, user_folder

        path = database or user_folder() / "live.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        devices = device or [default_device()]
        sources = default_sources(images, download=download)
        use_one_thread()
        phase = Phase(task, curves, tuple(seed or [777]), classes, validation)
        here = executor is Where.processes
        laboratory = Laboratory(sources, device=devices[0] if here else "cpu")
        for curve, number in product(curves, phase.seeds):  # refused before the clock trains anything
            laboratory.in_setup(TrainingJob(task, curve, number, 0))
        known = tabulated([phase], tables(), laboratory)
        clock = measure_clock(class_order()[:5], device=devices[0]) if here else None
        if wanted := known.intersection(phase.jobs()):
            say(f"{len(wanted)} of these trainings are in the tables already")
        incomplete: NasbenchKDError | None = None
        try:
            with chosen_executor(
                executor, path.parent / "slurm", at_once, sbatch, gpus=int(devices[0].startswith("cuda"))
            ) as chosen:
                run(
                    path,
                    [phase],
                    sources,
                    clock=clock,
                    hours=hours,
                    devices=devices,
                    skip=known,
                    executor=chosen,
                )
        except (ClusterError, StoreError) as error:
            incomplete = error
        entries = Store(path).finished()
        say(f"{len(entries)} entries in {path}")
        if export is not None:
            say(f"{write_patch(export, entries)} entries written to {export}")
        if incomplete is not None:
            raise incomplete


@teacher_app.command("train")
def train_teacher(
    task: TaskName,
    output: Annotated[
        Path | None, typer.Option(help="File of weights.", show_default="teachers/TASK.npz beside the images")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the full recipe.")] = 200,
    seed: Annotated[int, typer.Option(help="Training seed.")] = 777,
    images: Images = None,
    download: Download = False,
    device: Device = None,
) -> None:
    """Train the task's teacher, the ResNet-like cell, by the full recipe; resumes after every epoch.

    Example:

    ```
    nasbench-kd teacher train --task cifar10
    ```
    """
    trainable(task)
    with needs_extra("live", "trainings"):
        from nasbench_kd.live.laboratory import Laboratory
        from nasbench_kd.live.oracle import default_device, default_sources
        from nasbench_kd.live.teacher_training import train_teacher as run
        from nasbench_kd.live.trainer import Curve

        sources = default_sources(images, download=download)
        path = output or sources.images / "teachers" / f"{task}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)

        def show(curve: Curve) -> None:
            say(
                f"epoch {len(curve.train_seconds):3d}/{epochs}  {curve.valid_correct[-1]} images right  "
                f"{sum(curve.train_seconds):8.1f} s"
            )

        laboratory = Laboratory(sources, device=device or default_device())
        run(laboratory, task, path, epochs=epochs, seed=seed, after_epoch=show)
        say(f"the teacher is in {path}")
