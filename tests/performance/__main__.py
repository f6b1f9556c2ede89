"""The command of the speed gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nasbench_kd.cli.output import AsJson, print_json, print_table
from nasbench_kd.errors import GateError
from tests.performance.speed import compare_speed, save_ratios

app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command()
def gate_speed(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="What `pytest --benchmark-json` has written.")
    ],
    ratios: Annotated[Path, typer.Option(help="The stored ratios.")] = Path("tests/performance/ratios.json"),
    save: Annotated[bool, typer.Option("--save", help="Store the ratios of these results instead.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, max=0.99, help="With --save: by which share later ratios may be smaller.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Compare the ratios of performance tests with stored ones: is it as fast as it was?

    A ratio is how many times faster than a peer something is, both measured in one run. Tests record it
    with pytest-benchmark as `benchmark.extra_info["times <peer>"]`.

    **Exit codes**: 0 all ratios are kept, 1 one is below the least that is stored for it, 2 nothing was
    measured, or a stored ratio was not.

    Examples:

    ```
    pytest tests/performance --benchmark-json speed.json
    python -m tests.performance speed.json
    python -m tests.performance speed.json --save
    ```
    """
    try:
        if save:
            stored = save_ratios(results, ratios, tolerance)
            typer.echo(f"{len(stored)} ratios are stored in {ratios}")
            return
        compared = compare_speed(results, ratios)
    except (GateError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    worse = sum(each.verdict == "worse" for each in compared)
    if as_json:
        print_json(
            [
                {
                    "test": each.name.test,
                    "peer": each.name.peer,
                    "ratio": each.ratio,
                    "stored": None if each.stored is None else each.stored._asdict(),
                    "verdict": each.verdict,
                }
                for each in compared
            ]
        )
    else:
        print_table(
            ["verdict", "test", "times", "stored#", "at least#", "now#"],
            [
                (
                    each.verdict,
                    each.name.test,
                    each.name.peer,
                    "" if each.stored is None else f"{each.stored.measured:g}",
                    "" if each.stored is None else f"{each.stored.at_least:g}",
                    f"{each.ratio:g}",
                )
                for each in compared
            ],
        )
        typer.echo(f"{worse} of {len(compared)} ratios became worse.")
    raise typer.Exit(1 if worse else 0)


if __name__ == "__main__":
    app()
