"""Collects the figures that performance tests measure and prints them as one table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_FIGURES = pytest.StashKey[list[tuple[str, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Record a measured figure for the table at the end of the run."""
    return lambda name, value: request.config.stash[_FIGURES].append((name, value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures:
        terminalreporter.section("figures of this run")
        for name, value in figures:
            terminalreporter.write_line(f"| {name} | {value:.4g} |")
