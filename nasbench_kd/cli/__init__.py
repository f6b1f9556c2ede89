"""The command line: every command is registered here and lives in the module of its group."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nasbench_kd.cli import (
    adding,
    data,
    examining,
    exporting,
    gating,
    inspecting,
    references,
    reporting,
    running,
    scoring,
    training,
    verifying,
)
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.escaping import printable

INTERRUPTED = 130


class _Commands(TyperGroup):
    """Turns the project's own errors, and those of files, into a message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:  # whoever reads has enough, such as `head`: Click ends quietly
            raise
        except (NasbenchKDError, OSError) as error:
            typer.secho(f"error: {printable(str(error))}", fg="red", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(INTERRUPTED) from interrupt


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nasbench-kd {version('nasbench-kd')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A benchmark for distillation-aware, multi-fidelity neural architecture search.

    Start with `nasbench-kd run quick`: it runs every search method and prints the leaderboard.
    """
    # Optimizers named as package.module:Class are also looked for where the command is given.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


app.command("run")(running.run)
app.command("report")(reporting.report)
app.command("verify")(verifying.verify)
app.command("compare")(reporting.compare)
app.command("suites")(running.suites)
app.command("optimizers")(inspecting.optimizers)
app.command("tasks")(inspecting.tasks)
app.command("query")(inspecting.query)
app.command("signals")(inspecting.signals)
app.command("explain")(examining.explain)
app.command("doctor")(examining.doctor)
app.command("landscape")(examining.landscape)
app.command("gate")(gating.gate)
app.command("gate-errors")(gating.gate_errors)
data.app.command("pull")(adding.pull)
data.app.command("import")(adding.import_data)
data.app.command("merge")(adding.merge)
data.app.command("surrogate")(adding.surrogate)
app.command("train")(training.train)
app.command("fill")(training.fill)
app.add_typer(data.app, name="data")
app.add_typer(training.teacher_app, name="teacher")
app.add_typer(scoring.app, name="score")
app.add_typer(references.app, name="reference")
app.add_typer(references.app, name="baseline", hidden=True, callback=references.say_new_name)
app.add_typer(exporting.app, name="export")
