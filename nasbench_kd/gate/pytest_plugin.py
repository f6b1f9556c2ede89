"""The pytest plugin: a fixture and a marker that hold an optimizer to its reference.

It imports nothing heavy, and nothing of the gate, before a test asks for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nasbench_kd.errors import NasbenchKDError

if TYPE_CHECKING:
    from nasbench_kd.gate.gate import GateResult

MARKER = "search_gate"


@dataclass(frozen=True, slots=True)
class SearchGate:
    """What the fixture `search_gate` returns: call it to fail the test unless the gate passes."""

    root: Path
    """Relative paths start here: the root of the tests."""

    def __call__(
        self,
        suite: str | Path,
        reference: str | Path = "",
        *,
        optimizer: str | Sequence[str] = (),
        task: str | Sequence[str] = (),
        jobs: int | None = None,
        baseline: str | Path = "",
    ) -> GateResult:
        """Hold a suite, or some of its optimizers on some of its tasks, to a reference.

        Takes what `nasbench-kd gate` takes. Where anything is worse or undecided, or the comparison cannot
        be made, the test fails and says why. `baseline` is the old name of `reference`.
        """
        if baseline:
            warnings.warn("the argument `baseline` is now `reference`", stacklevel=2)
        if not (named := reference or baseline):
            pytest.fail("name the reference that the gate compares with", pytrace=False)
        from nasbench_kd.execution.suite import load_suite, suite_path
        from nasbench_kd.gate.gate import PASSED, run_gate
        from nasbench_kd.gate.reference import reference_path
        from nasbench_kd.gate.summary import explain, headline, next_step

        try:
            file = suite_path(self._located(suite))
            loaded = load_suite(file)
            result = run_gate(
                loaded,
                reference_path(str(self._located(named)), file, loaded.name),
                optimizers=[optimizer] if isinstance(optimizer, str) else optimizer,
                tasks=[task] if isinstance(task, str) else task,
                jobs=jobs,
            )
        except NasbenchKDError as error:
            pytest.fail(f"the gate could not compare: {error}", pytrace=False)
        if result.exit_code != PASSED:
            step = next_step(result, str(suite), str(named))
            changed = [explain(each) for each in result.comparisons if each.verdict in ("worse", "undecided")]
            pytest.fail("\n".join([f"the gate {headline(result)}", *changed, step]), pytrace=False)
        return result

    def _located(self, named: str | Path) -> str | Path:
        """A path below the root where there is one; what else was named is a name."""
        path = self.root / named
        return path if path.exists() else named


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(suite, reference, *, optimizer, task, jobs): fail unless the search quality of a suite, or of "
        "one of its optimizers, is that of a stored reference (nasbench-kd gate)",
    )


@pytest.fixture(scope="session")
def search_gate(pytestconfig: pytest.Config) -> SearchGate:
    """Call it with a suite and a reference to hold search quality to that reference."""
    return SearchGate(pytestconfig.rootpath)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Hold the gates of a test's markers before its body."""
    for marker in item.iter_markers(MARKER):
        SearchGate(item.config.rootpath)(*marker.args, **marker.kwargs)
