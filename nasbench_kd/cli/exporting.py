"""Commands that export tasks to other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nasbench_kd.cli import completion
from nasbench_kd.cli.output import say

app = typer.Typer(
    help="Tasks and their space for other packages: Syne Tune, Optuna, ConfigSpace.", no_args_is_help=True
)

_DEFAULT = "cifar10"
"""The task whose search space is exported where none is named."""
_SCRIPT = '''"""Searches {space} on {task} with Optuna."""

import optuna
from nasbench_kd.adapters.export import OptunaObjective

objective = OptunaObjective("{task}", "{training}")
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(objective, n_trials=100)
print(objective.cell(study.best_params), study.best_value)
print(sum(trial.user_attrs["seconds"] for trial in study.trials) / 3600, "GPU-hours")
'''
Training = Annotated[
    str,
    typer.Option(
        help="The training whose epochs are exported.",
        show_default="the task's target",
        autocompletion=completion.fidelities,
    ),
]


@app.command("syne-tune")
def syne_tune(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the blackbox.")],
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task; give it several times, those of one search space.",
            show_default="cifar10, cifar100, imagenet16-120",
            autocompletion=completion.tasks,
        ),
    ] = None,
    training: Training = "target",
    data: Annotated[
        Literal["embedded", "installed", "measured"], typer.Option(help="Which tables answer.")
    ] = "installed",
) -> None:
    """Write a tabular blackbox for Syne Tune: validation error and training time, no test accuracy.

    Example, and see docs/adapters.md:

    ```
    nasbench-kd export syne-tune blackbox --task cifar100
    ```
    """
    from nasbench_kd.adapters.export import export_syne_tune
    from nasbench_kd.tasks.registry import find_task, tasks_of

    tasks = task or [each.name for each in tasks_of(find_task(_DEFAULT).space)]
    shape = export_syne_tune(folder, tasks, training, data).shape
    say(f"{folder}: {shape[0]} tasks, {shape[1]} cells, {shape[2]} seeds, {shape[3]} epochs")


@app.command("optuna")
def optuna(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="Python file to write.")],
    task: Annotated[
        str,
        typer.Option(
            help="Such as cifar100; `nasbench-kd tasks` lists them.", autocompletion=completion.tasks
        ),
    ],
    training: Training = "target",
) -> None:
    """Write a short script that searches a task with Optuna.

    Example, and see docs/adapters.md:

    ```
    nasbench-kd export optuna search.py --task cifar100
    ```
    """
    from nasbench_kd.adapters.export import curve_epochs
    from nasbench_kd.errors import DataError
    from nasbench_kd.files import write_text
    from nasbench_kd.opening import load

    bench = load(task)
    curve_epochs(bench, training)
    if script.exists():
        raise DataError(f"{script} exists; name another file")
    write_text(
        script, _SCRIPT.format(task=task, space=bench.task.space.name, training=bench.task.fidelity(training))
    )
    say(f"written to {script}")


@app.command("space")
def space(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file to write.")],
    form: Annotated[
        Literal["json-schema", "configspace"],
        typer.Option(help="A JSON Schema, or what `ConfigurationSpace.from_json` reads."),
    ] = "json-schema",
    task: Annotated[
        str, typer.Option(help="A task in the search space.", autocompletion=completion.tasks)
    ] = _DEFAULT,
) -> None:
    """Write a search space as JSON for other tools; the form of ConfigSpace needs the package of this name.

    Examples, and see docs/adapters.md:

    ```
    nasbench-kd export space space.json --task kd-resnet
    nasbench-kd export space configspace.json --form configspace
    ```
    """
    import json

    from nasbench_kd.adapters.space import config_space, json_schema
    from nasbench_kd.errors import DataError
    from nasbench_kd.files import write_text
    from nasbench_kd.tasks.registry import find_task

    found = find_task(task).space
    content = json_schema(found) if form == "json-schema" else config_space(found).to_serialized_dict()
    if file.exists():
        raise DataError(f"{file} exists; name another file")
    write_text(file, json.dumps(content, indent=2) + "\n")
    say(f"written to {file}")


@app.command("croissant")
def croissant(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the data set.")],
    data: Annotated[
        Literal["embedded", "installed", "measured"], typer.Option(help="Which tables are written.")
    ] = "embedded",
) -> None:
    """Write the tables as Parquet with Croissant metadata, to share them as a data set.

    Test accuracies are among them, in rows of their own: what is written here is no search's view.

    Example, and see docs/datasheet.md:

    ```
    nasbench-kd export croissant shared
    ```
    """
    from importlib.metadata import version

    from nasbench_kd.adapters.croissant import export_croissant

    for path in export_croissant(folder, version("nasbench-kd"), data):
        say(path)
