"""What a gate found, as Markdown for people, JUnit XML for CI pages and JSON for programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from nasbench_kd.escaping import code
from nasbench_kd.escaping import markdown as escaped
from nasbench_kd.gate.gate import PASSED, UNDECIDED, WORSE, Comparison, GateResult

HEADLINES = {
    PASSED: "passed: nothing became worse",
    WORSE: "failed: search quality became worse",
    UNDECIDED: "not passed: the seeds did not suffice to decide",
}


def headline(result: GateResult) -> str:
    """One line: the outcome and how many comparisons got which verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in result.counts.items() if count)
    return f"{HEADLINES[result.exit_code]} ({counts})"


def explain(comparison: Comparison) -> str:
    """One comparison in words."""
    words = (
        f"{comparison.optimizer} on {comparison.task} at {comparison.budget} is {comparison.verdict}: mean regret "
        f"{comparison.reference_regret:.3f} before and {comparison.regret:.3f} now over {comparison.pairs} pairs of "
        f"runs, difference {comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}] points, and "
        f"{comparison.rope:g} either way counts as equivalent"
    )
    return f"{words}. {comparison.reason}" if comparison.reason else words


def unguarded(result: GateResult) -> list[str]:
    """What the regions of practical equivalence cannot guard, a line for each comparison."""
    return [
        f"not guarded: {each.optimizer} on {each.task} at {each.budget} is {each.distance:+.3f} points from random "
        f"search, and {each.rope:g} counts as equivalent"
        for each in result.comparisons
        if not each.guarded
    ]


def next_step(result: GateResult, suite: str, reference: str) -> str:
    """The command that a gate which did not pass calls for; empty where it passed."""
    suite, reference = shlex.quote(suite), shlex.quote(reference)
    again = f"nasbench-kd gate --suite {suite} --reference {reference}"
    if result.exit_code == PASSED:
        return ""
    first = next(each for each in result.comparisons if each.verdict in ("worse", "undecided"))
    look = code(f"{again} --optimizer {shlex.quote(first.optimizer)} --task {first.task} --output gate-runs")
    save = code(f"nasbench-kd reference save {reference} --suite {suite}")
    if result.exit_code == WORSE:
        return (
            f"Next: {look} keeps the runs to look at with `nasbench-kd report gate-runs`; if the loss is meant, {save} "
            "stores the new quality."
        )
    return f"Next: give the suite more seeds and store their runs with the code of before: {save}."


def markdown(result: GateResult, next_command: str = "") -> str:
    """A summary for a pull request: what changed first, what did not folded away."""
    changed = [each for each in result.comparisons if each.verdict != "equivalent"]
    changed.sort(key=lambda each: ("worse", "undecided", "better").index(each.verdict))
    same = [each for each in result.comparisons if each.verdict == "equivalent"]
    lines = [f"## Search quality {headline(result)}", ""]
    if changed:
        lines += _table(changed)
        lines += [
            f"- {escaped(each.optimizer)} on {each.task}: {escaped(each.reason)}"
            for each in changed
            if each.reason
        ]
        lines.append("")
    if same:
        lines += [f"<details><summary>{len(same)} equivalent</summary>", "", *_table(same), "</details>", ""]
    if next_command:
        lines += [next_command, ""]
    if blind := unguarded(result):
        lines += [f"<details><summary>{len(blind)} limits of this gate</summary>", ""]
        lines += [*(f"- {escaped(line)}" for line in blind), "", "</details>", ""]
    scored = " and ".join(sorted({escaped(f"by {basis}") for basis in result.basis.values()}))
    lines += [
        f"Suite {code(result.suite)}, reference {code(result.reference)}. Regret is in points of "
        f"accuracy, scored {scored}; smaller is better. The difference is now minus before over paired runs with the "
        "same seeds, with its interval at the look that decided. At most "
        f"{result.test.error:.0%} of gates call anything worse whose loss lies within the region of practical "
        f"equivalence (± in the table), over all {result.test.comparisons} comparisons and looks at "
        f"{', '.join(map(str, result.test.stages))} pairs (paired t tests, linear error spending, Bonferroni).",
        "",
    ]
    return "\n".join(lines)


def junit(result: GateResult) -> bytes:
    """JUnit XML: a test case for each comparison; worse is a failure, undecided an error."""
    counts = result.counts
    suite = ElementTree.Element(
        "testsuite",
        name=f"nasbench-kd gate {result.suite}",
        tests=str(len(result.comparisons)),
        failures=str(counts["worse"]),
        errors=str(counts["undecided"]),
        skipped="0",
    )
    for comparison in result.comparisons:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"{result.suite}.{comparison.task}.{comparison.optimizer}",
            name=comparison.budget,
        )
        text = _printable(explain(comparison))
        kind = {"worse": "failure", "undecided": "error"}.get(comparison.verdict)
        if kind:
            ElementTree.SubElement(case, kind, type=comparison.verdict, message=text).text = text
        else:
            ElementTree.SubElement(case, "system-out").text = text
    return _document(suite)


def junit_of_error(suite: str, message: str) -> bytes:
    """JUnit XML of a gate that could not compare."""
    element = ElementTree.Element(
        "testsuite", name=f"nasbench-kd gate {suite}", tests="1", failures="0", errors="1", skipped="0"
    )
    case = ElementTree.SubElement(element, "testcase", classname=suite, name="gate")
    text = _printable(message)
    ElementTree.SubElement(case, "error", type="unusable input", message=text).text = text
    return _document(element)


def markdown_of_error(message: str) -> str:
    """A summary of a gate that could not compare."""
    return f"## Search quality not measured\n\nThe gate does not pass: {escaped(message)}\n"


def as_json(result: GateResult) -> dict[str, Any]:
    """Everything as JSON values."""
    return {
        "suite": result.suite,
        "reference": result.reference,
        "outcome": HEADLINES[result.exit_code],
        "exit_code": result.exit_code,
        "error": result.test.error,
        "stages": list(result.test.stages),
        "basis": dict(result.basis),
        "counts": result.counts,
        "notes": unguarded(result),
        "comparisons": [
            {**asdict(comparison), "difference": comparison.difference} for comparison in result.comparisons
        ],
    }


def _table(comparisons: Sequence[Comparison]) -> list[str]:
    lines = [
        "| verdict | optimizer | task | budget | regret before | now | difference | ± | pairs |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for each in comparisons:
        verdict = f"**{each.verdict}**" if each.verdict in ("worse", "undecided") else each.verdict
        lines.append(
            f"| {verdict} | {escaped(each.optimizer)} | {each.task} | {each.budget} | {each.reference_regret:.3f} | "
            f"{each.regret:.3f} | {each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}] | {each.rope:g} | "
            f"{each.pairs} |"
        )
    return [*lines, ""]


def _printable(text: str) -> str:
    """Text without the control characters that XML 1.0 cannot hold."""
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in text)


def _document(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"
