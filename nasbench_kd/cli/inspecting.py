"""Commands that look things up: optimizers and table entries."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nasbench_kd.cli import completion
from nasbench_kd.cli.output import AsJson, parse_cell, print_json, print_table, say
from nasbench_kd.errors import MissingEntryError, NasbenchKDError

if TYPE_CHECKING:
    from nasbench_kd.benchmark.benchmark import Benchmark
    from nasbench_kd.benchmark.evaluation import Evaluation
    from nasbench_kd.spaces.space import Architecture
    from nasbench_kd.tasks.fidelity import Fidelity
    from nasbench_kd.tasks.prerequisites import Prerequisite


def optimizers(
    live: Annotated[
        bool, typer.Option("--live", help="Only the methods that are trained here, which search no tables.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List every method with its paper, its prerequisites, and whether it was held to published numbers.

    `needs` is what a task must offer (`nasbench-kd tasks`), `prerequisites` what is bought or made once before the
    fidelities that a method takes by default, and `compared` the document of this project that holds its results to
    published numbers, or `no`. First stand the registered optimizers, then the methods whose networks are trained
    here: by a command, whose scores then are fidelities of every optimizer, or from Python. `--json` adds classes and
    summaries.

    Packages register optimizers as entry points of the group `nasbench_kd.optimizers`. Others are named
    in a suite as `package.module:Class`, without being listed here.
    """
    from nasbench_kd.live.methods import METHODS
    from nasbench_kd.simulation.registry import registered

    if as_json:
        print_json(
            [
                {"name": name, **each._asdict(), "compared": each.compared or None}
                for name, each in METHODS.items()
            ]
            if live
            else [_describe_optimizer(name, point.value) for name, point in registered().items()]
        )
        return
    if not live:
        print_table(
            ["optimizer", "paper", "needs", "prerequisites", "compared", "arguments"],
            [
                (
                    each["name"],
                    each.get("paper") or each.get("basis", ""),
                    ", ".join(each.get("needs", ())),
                    ", ".join(
                        (
                            *each.get("prerequisites", ()),
                            *(f"{one} (on no bill)" for one in each.get("given", ())),
                        )
                    )
                    or "none",
                    each.get("compared") or "no",
                    each.get("error")
                    or ", ".join(f"{key}={value!r}" for key, value in each["arguments"].items()),
                )
                for each in (_describe_optimizer(name, point.value) for name, point in registered().items())
            ],
        )
        say("Trained here:")
    print_table(
        ["method", "paper", "made by", "prerequisites", "compared"],
        [
            (
                name,
                f"{each.paper}; {each.basis}" if each.basis else each.paper,
                each.made_by,
                ", ".join(each.prerequisites),
                each.compared or "no",
            )
            for name, each in METHODS.items()
        ],
    )
    say(
        "`compared` names the document that holds a method's results to published numbers; `no`: none does, as for "
        "controls, of which no numbers are published. docs/methods.md says what was read of each method."
    )


def signals(as_json: AsJson = False) -> None:
    """List what a training can be read by: which way is better, and what reading it costs beyond the training.

    Suites and `nasbench_kd.Query` name one; which of them a fidelity has, `query` shows.
    """
    from nasbench_kd.tasks.signals import SIGNALS

    if as_json:
        print_json([signal._asdict() for signal in SIGNALS.values()])
        return
    print_table(
        ["signal", "better", "unit", "definition", "costs"],
        [
            (signal.name, signal.better, signal.unit, signal.definition, signal.extra_cost or "nothing more")
            for signal in SIGNALS.values()
        ],
    )


def tasks(
    prerequisites: Annotated[
        bool,
        typer.Option(
            "--prerequisites", help="What is bought once on each: its price, and what is counted for it."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the tasks: their search space, what answers are judged by, and the fidelities that the tables have.

    What a search buys once, with the first evaluation that needs it, is listed with `--prerequisites`: a teacher is a
    training in the tables; trained stages and supernets cost their passes of images times the table's clock.

    Packages register theirs as entry points of the group `nasbench_kd.tasks` (docs/spaces.md).
    """
    from nasbench_kd.opening import load
    from nasbench_kd.tasks.registry import task_names

    listed: list[dict[str, Any]] = []
    for name in task_names():
        benchmark = load(name)
        listed.append(
            {
                "name": name,
                "space": benchmark.task.space.name,
                "architectures": len(benchmark.task.space),
                "classes": benchmark.task.classes,
                "target": str(benchmark.task.target),
                "offers": list(benchmark.task.offers),
                "prerequisites": [
                    _describe_prerequisite(benchmark, each) for each in benchmark.task.prerequisites
                ],
                "fidelities": [each.alias for each in benchmark.fidelities if each.trained_on is None],
            }
        )
    if as_json:
        print_json(listed)
        return
    if prerequisites:
        print_table(
            ["task", "prerequisite", "needs", "seconds#", "counted"],
            [
                (
                    each["name"], one["name"], ", ".join(one["needs"]),
                    "not known" if one["seconds"] is None else f"{one['seconds']:,.0f}", one["counts"],
                )
                for each in listed
                for one in each["prerequisites"]
            ],
        )  # fmt: skip
        return
    print_table(
        ["task", "space", "architectures#", "classes#", "target", "fidelities", "offers"],
        [
            (
                each["name"], each["space"], each["architectures"], each["classes"], each["target"],
                ", ".join(each["fidelities"]), ", ".join(each["offers"]),
            )
            for each in listed
        ],
    )  # fmt: skip


def _describe_prerequisite(benchmark: Benchmark, each: Prerequisite) -> dict[str, Any]:
    """Its name, what it needs, its price (None where no table has it) and what is counted for that."""
    seconds, counts = each.seconds, each.counts
    if each.training is not None:
        index, fidelity = each.training
        counts = f"the training of cell {index} at {fidelity}"
        with suppress(MissingEntryError):
            seconds = benchmark.evaluate(benchmark.task.space[index], fidelity).seconds
    return {"name": each.name, "needs": list(each.needs), "seconds": seconds, "counts": counts}


def query(
    cell: Annotated[
        str, typer.Argument(metavar="CELL", help="A cell's string, or its index in the task's space.")
    ],
    task: Annotated[
        str,
        typer.Option(
            help="Such as cifar100; `nasbench-kd tasks` lists them.", autocompletion=completion.tasks
        ),
    ],
    fidelity: Annotated[
        str,
        typer.Option(
            help="How the cell is trained.",
            show_default="the task's target",
            autocompletion=completion.fidelities,
        ),
    ] = "target",
    seed: Annotated[int | None, typer.Option(help="One training seed only.", show_default="all")] = None,
    data: Annotated[
        Literal["embedded", "installed", "measured"], typer.Option(help="Which tables answer.")
    ] = "installed",
    as_json: AsJson = False,
) -> None:
    """Look up one cell: every reading and the training time for each seed, and the size of its network.

    Examples:

    ```
    nasbench-kd query 1462 --task cifar100
    nasbench-kd query 1462 --task cifar10 --fidelity none@200 --seed 888 --json
    nasbench-kd query 11 --task cifar100 --fidelity nst@12
    nasbench-kd query '|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|' --task cifar100
    ```
    """
    from nasbench_kd.opening import load
    from nasbench_kd.tasks.registry import find_task

    benchmark = load(task, data=data)
    found = parse_cell(cell, benchmark.task.space)
    wanted = benchmark.task.fidelity(fidelity)
    seeds = [seed] if seed is not None else benchmark.seeds(found, wanted) or [None]
    signals = benchmark.signals(wanted)
    sizes = find_task(wanted.trained_on or task).sizes(found, wanted)
    readings = [_readings(benchmark, found, wanted, each, signals) for each in seeds]
    described: dict[str, Any] = {
        "cell": str(found),
        "index": found.index,
        "task": task,
        "fidelity": str(wanted),
        **sizes,
        "evaluations": [
            {
                "seed": each[0].seed,
                **{reading.signal: None if reading.failed else reading.value for reading in each},
                "seconds": each[0].seconds,
                "source": each[0].source,
            }
            for each in readings
        ],
    }
    if as_json:
        print_json(described)
        return
    say(str(found))
    told = [
        f"{number / 1e6:.{3 if name == 'parameters' else 2}f} M {name.replace('_ac', '-ac')}"
        for name, number in sizes.items()
    ]
    say(f"cell {found.index} on {task} at {wanted}: {', '.join(told) or 'of unknown size'}")
    print_table(
        ["seed#", *(f"{_title(signal)}#" for signal in signals), "seconds#", "source"],
        [
            (
                "mean" if each[0].seed is None else each[0].seed,
                *(_shown(each, signal) for signal in signals),
                f"{each[0].seconds:,.1f}" if each[0].seconds >= 10 else f"{each[0].seconds:.3g}",
                each[0].source,
            )
            for each in readings
        ],
    )


def _readings(
    benchmark: Benchmark, cell: Architecture, fidelity: Fidelity, seed: int | None, signals: tuple[str, ...]
) -> list[Evaluation]:
    """One training by every signal that it was read by; raises `MissingEntryError` where there is none."""
    found = []
    for signal in signals:
        try:
            found.append(benchmark.evaluate(cell, fidelity, signal, seed=seed))
        except MissingEntryError:
            if signal == signals[-1] and not found:
                raise
    return found


def _title(signal: str) -> str:
    from nasbench_kd.tasks.signals import find_signal

    unit = find_signal(signal).unit
    return signal.replace("_", " ") + {"percent": " (%)", "nats": " (nats)"}.get(unit, "")


def _shown(readings: list[Evaluation], signal: str) -> str:
    for each in readings:
        if each.signal == signal:
            return "diverged" if each.failed else f"{each.value:.3f}"
    return ""


def _describe_optimizer(name: str, path: str) -> dict[str, Any]:
    """Name, class, paper, summary and arguments; `error` in place of the last where it cannot be imported."""
    from nasbench_kd.simulation.registry import optimizer_class

    try:
        kind = optimizer_class(name)
    except NasbenchKDError as error:
        return {"name": name, "class": path, "error": str(error)}
    signature = inspect.signature(kind).parameters.values()
    return {
        "name": name,
        "class": path,
        "paper": kind.paper,
        "basis": kind.basis,
        "needs": list(kind.needs),
        "prerequisites": list(kind.prerequisites),
        "given": list(kind.given),
        "compared": kind.compared or None,
        "summary": (inspect.getdoc(kind) or "").partition("\n")[0],
        "arguments": {
            each.name: None if each.default is each.empty else each.default
            for each in signature
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        },
    }
