"""Writes the quality of the surrogate, as its table's card has it, in Markdown and into a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench_kd.errors import DataError
from nasbench_kd.files import write_between

MARKS = ("<!-- quality -->", "<!-- end of quality -->")


def quality_markdown(card: Mapping[str, Any]) -> str:
    """Tables and remarks on the quality that a card states; raises `DataError` where it states none."""
    quality = card.get("quality")
    if not isinstance(quality, dict):
        raise DataError("the card states no quality: it is not that of a table of surrogate entries")
    share = f"{quality['confidence']:.0%}"
    lines = [
        f"| task | fidelity | known of the class | classes | R2 | tau of prediction | RMSE | seed noise | in the "
        f"{share} interval | tau with 200 epochs, measured | drawn |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['task']} | `{each['fidelity']}` | {_code(each['given']) or 'nothing'} | {_figures(each)} |"
        for each in quality["tasks"]
    ]
    lines.append("")
    for each in quality["tasks"]:
        lines += [
            f"- {each['task']}: tau between {_code(pair['curves'], ' and ')} is {_interval(pair['measured'])} "
            f"as measured and {pair['drawn']:.2f} as drawn."
            for pair in each["between_curves"]
        ]
    for task, shares in quality["diverged"].items():
        lines += [
            f"- {task} `{curve}`: {share:.2%} of the measured trainings diverged; the median error of the "
            f"seconds is {quality['seconds'][task][curve]:.1%}."
            for curve, share in shares.items()
        ]
    lines += [f"- {note}" for note in card["notes"]]
    if disagreeing := [each for each in quality["tasks"] if not each["agrees"]]:
        listed = ", ".join(f"{each['task']} `{each['fidelity']}`" for each in disagreeing)
        lines.append(f"- The draws' {_outside(disagreeing, quality['tasks'])}: {listed}.")
    return "\n".join(lines) + "\n"


def write_into(page: Path, card: Mapping[str, Any]) -> None:
    """Replace what stands between the marks of a page; raises `DataError` where it has none."""
    write_between(page, MARKS, quality_markdown(card))


def _outside(some: Sequence[Any], all_rows: Sequence[Any]) -> str:
    return f"tau with 200 epochs lies outside the interval of the measured one in {len(some)} of {len(all_rows)} rows"


def _figures(each: Mapping[str, Any]) -> str:
    noise = "not known" if each["seed_noise"] is None else f"{each['seed_noise']:.2f}"
    return (
        f"{each['classes']} | {each['r2']:.2f} | {each['tau_of_prediction']:.2f} | {each['rmse']:.2f} | {noise} | "
        f"{each['coverage']:.1%} | {_interval(each['tau_with_full_measured'])} | "
        f"{_interval(each['tau_with_full_drawn'])}"
    )


def _interval(values: Sequence[float]) -> str:
    estimate, low, high = values
    return f"{estimate:.2f} [{low:.2f}, {high:.2f}]"


def _code(names: Sequence[str], between: str = ", ") -> str:
    return between.join(f"`{name}`" for name in names)
