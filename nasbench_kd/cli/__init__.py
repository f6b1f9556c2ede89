"""The command line: every command is registered here and lives in the module of its group."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nasbench_kd.cli import (
    adding,
    citing,
    data,
    examining,
    exporting,
    gating,
    inspecting,
    references,
    reporting,
    running,
    scoring,
    starting,
    training,
    verifying,
)
from nasbench_kd.cli.output import say
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.simulation.own_modules import look_in

INTERRUPTED = 130


class _Commands(TyperGroup):
    """Turns the project's own errors, and those of files, into a message and exit code 2."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            for each in (command, *getattr(command, "commands", {}).values()):
                _hide_types_of_flags(each.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        _hide_types_of_flags(parameters)
        return parameters

    def invoke(self, ctx: Any) -> Any:
        if sys.stdout is None:  # whoever started us has closed it: nobody wants to read
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # until the end
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # whoever reads has enough, such as `head`: Click ends quietly
            raise
        except (NasbenchKDError, OSError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.filename and error.strerror:
                text = f"{error.filename}: {error.strerror}"
            say(f"error: {text}", fg="red", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(INTERRUPTED) from interrupt


def _hide_types_of_flags(parameters: Iterable[Any]) -> None:
    """Let no type stand in the help of options that take no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"nasbench-kd {version('nasbench-kd')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """A benchmark for distillation-aware, multi-fidelity neural architecture search.

    Start with `nasbench-kd run quick`: it runs every search method and prints who is best.
    """
    # Optimizers named as package.module:Class are also looked for where the command is given.
    look_in(Path.cwd())


RUN, LOOK_UP, DATA, LIVE, GATE = "Run and compare", "Look up", "Data", "Live training", "Gate"
for name, command, panel in (
    ("run", running.run, RUN),
    ("report", reporting.report, RUN),
    ("compare", reporting.compare, RUN),
    ("merge", running.merge, RUN),
    ("board", reporting.board, RUN),
    ("verify", verifying.verify, RUN),
    ("bundle", verifying.bundle, RUN),
    ("suites", running.suites, RUN),
    ("new-optimizer", starting.new_optimizer, RUN),
    ("query", inspecting.query, LOOK_UP),
    ("explain", examining.explain, LOOK_UP),
    ("landscape", examining.landscape, LOOK_UP),
    ("tasks", inspecting.tasks, LOOK_UP),
    ("optimizers", inspecting.optimizers, LOOK_UP),
    ("signals", inspecting.signals, LOOK_UP),
    ("cite", citing.cite, LOOK_UP),
    ("doctor", examining.doctor, DATA),
    ("train", training.train, LIVE),
    ("fill", training.fill, LIVE),
    ("search-supernet", scoring.search_supernet, LIVE),
    ("gate", gating.gate, GATE),
    ("gate-errors", gating.gate_errors, GATE),
):
    app.command(name, rich_help_panel=panel)(command)
data.app.command("pull")(adding.pull)
data.app.command("import")(adding.import_data)
data.app.command("merge")(adding.merge)
data.app.command("surrogate")(adding.surrogate)
app.add_typer(data.app, name="data", rich_help_panel=DATA)
app.add_typer(exporting.app, name="export", rich_help_panel=DATA)
app.add_typer(training.teacher_app, name="teacher", rich_help_panel=LIVE)
app.add_typer(scoring.app, name="score", rich_help_panel=LIVE)
app.add_typer(references.app, name="reference", rich_help_panel=GATE)
app.add_typer(references.app, name="baseline", hidden=True, callback=references.say_new_name)
