"""Methods that say of themselves beside which control they must stand, and those that stand without it."""

from __future__ import annotations

from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.report.provenance import StoredSuite
from nasbench_kd.report.shipped import shipped_class


def missing_controls(suite: StoredSuite) -> dict[str, str]:
    """Entries without an entry of their method's control with the same arguments, and the control's name.

    Known of classes that ship.
    """
    classes = {entry.name: shipped_class(entry.optimizer) for entry in suite.optimizers}
    found = {}
    for entry in suite.optimizers:
        kind = classes[entry.name]
        if kind is None or not kind.control:
            continue
        control = shipped_class(kind.control)
        if not any(
            classes[other.name] is control and other.arguments == entry.arguments
            for other in suite.optimizers
        ):
            found[entry.name] = kind.control
    return found


def sentence(suite: StoredSuite) -> str:
    """Who stands without a control, in words; empty where nobody does."""
    found = missing_controls(suite)
    if not found:
        return ""
    listed = ", ".join(
        f"{markdown_text(name)} without {markdown_text(control)}" for name, control in found.items()
    )
    return f"Without the control that it must stand beside, with the same arguments: {listed}."
