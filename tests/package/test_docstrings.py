"""Every example in a docstring of the torch-free rooms runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import nasbench_kd
import nasbench_kd_baselines

MODULES = [
    module.name
    for package in (nasbench_kd, nasbench_kd_baselines)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.startswith(("nasbench_kd.live", "nasbench_kd.cli"))
]


def examples() -> list[str]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        name
        for name in MODULES
        if any(test.examples for test in finder.find(importlib.import_module(name), name))
    ]


@pytest.mark.parametrize("name", examples())
def test_examples_run(name: str):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted
    assert not failed
