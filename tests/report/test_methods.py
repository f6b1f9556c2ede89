"""Leaderboards say which arguments are not a method's defaults, and what a method rests on."""

from __future__ import annotations

from nasbench_kd.report.controls import missing_controls, sentence
from nasbench_kd.report.methods import markdown, rows
from nasbench_kd.report.provenance import StoredOptimizer, StoredSuite


def entry(name, optimizer, **arguments):
    return StoredOptimizer(name, optimizer, arguments, bill_teacher=True, ranked=True, anytime=True)


def test_arguments_that_are_not_defaults_are_shown_with_the_basis():
    found = rows(
        [
            entry("ours", "bananas", batch=40, epochs=150),
            entry("full", "nasbench_kd_baselines.trade:Trade", fidelity="none@200"),
            entry("parameters", "parameters"),
        ]
    )
    assert found == [
        ("ours", "bananas", "batch = 40", ""),
        ("full", "nasbench_kd_baselines.trade:Trade", "fidelity = 'none@200'", "after the abstract"),
        ("parameters", "parameters", "", "control"),
    ]


def test_a_foreign_class_is_not_imported_and_shows_all_its_arguments():
    found = rows(
        [entry("mine", "module_that_is_not_there:Mine", population=10), entry("old", "no-such-name")]
    )
    assert found == [
        ("mine", "module_that_is_not_there:Mine", "population = 10", ""),
        ("old", "no-such-name", "", ""),
    ]
    assert "population = 10" in markdown([entry("mine", "a:B", population=10)])


def test_a_method_without_its_control_is_named_and_one_beside_it_is_not():
    alone = [entry("generated", "diffusion-nag", scale=1.0), entry("argmax", "diffusion-nag-argmax")]
    beside = [*alone, entry("same", "nasbench_kd_baselines.diffusion_nag:DiffusionNAGArgmax", scale=1.0)]
    suites = [
        StoredSuite(
            "s", (), (), 1, "embedded", False, True, optimizers=tuple(entries), ablations=(), primary=None
        )
        for entries in (alone, beside)
    ]
    assert [missing_controls(suite) for suite in suites] == [{"generated": "diffusion-nag-argmax"}, {}]
    assert "generated without diffusion-nag-argmax" in sentence(suites[0])
    assert sentence(suites[1]) == ""
