"""Default fidelities are chosen from what a task has, and what it lacks is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd import Fidelity, SearchView
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import SPACE, isomorphism_classes
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd_baselines.common.fidelities import (
    MEASURED,
    MEASURED_READING,
    distilled_fidelities,
    ladder,
    price,
)
from nasbench_kd_baselines.mf_kd import MFKD


def view(**prices):
    """A view with these fidelities (`_` for `@`, `of` for `/`) at these prices."""
    named = {name.replace("_", "@").replace("of", "/"): seconds for name, seconds in prices.items()}
    ordered = sorted(named.items(), key=lambda item: item[1])
    return SearchView(
        "cifar10",
        10,
        1,
        tuple(Fidelity.parse(name) for name, _ in ordered),
        tuple(map(float, dict(ordered).values())),
        0.0,
        space=SPACE,
        target=FULL,
    )


def names(fidelities):
    return [str(fidelity) for fidelity in fidelities]


def test_the_ladder_is_spaced_from_the_top():
    task = view(none_200=2000, none_100of200=1000, none_50of200=500, none_12=120, none_4of12=40, nst_12=150)
    assert names(ladder(task, None, 2)) == ["none@4/12", "none@12", "none@50/200", "none@100/200", "none@200"]
    assert names(ladder(task, None, 4)) == ["none@12", "none@50/200", "none@200"]
    assert names(ladder(task, ("nst@12", "none@200"), 4)) == ["nst@12", "none@200"]


def test_distilled_fidelities_are_the_cheapest_first():
    task = view(none_200=2000, nst_12=150, kd_4of12=50, none_12=120)
    assert names(distilled_fidelities(task)) == ["kd@4/12", "nst@12"]


def test_what_is_lacking_is_named():
    plain = view(none_200=2000, nst_12=150)
    with pytest.raises(MissingEntryError, match=r"at most 1/3 of none@200.*cifar10 has nst@12, none@200"):
        ladder(plain, None, 3)
    with pytest.raises(MissingEntryError, match=r"price of none@200 on cifar10 is not known.*none@12"):
        ladder(view(none_12=120), None, 3)
    with pytest.raises(MissingEntryError, match="cifar10 has no fidelity with distillation; it has none@200"):
        distilled_fidelities(view(none_200=2000))
    assert price(plain, FULL) == 2000


def test_reduced_trainings_are_no_rungs_of_the_default_ladder():
    task = replace(
        view(none_200=2000, none_12=120),
        fidelities=tuple(
            map(Fidelity.parse, ("nwot", "none-4-epochs", "none@12 on=cifar100", "none@12", "none@200"))
        ),
        mean_seconds=(0.01, 1.0, 100.0, 120.0, 2000.0),
    )
    assert names(ladder(task, None, 3)) == ["none@12", "none@200"]


@pytest.mark.parametrize("task", ["cifar10", "cifar100", "imagenet16-120"])
def test_mf_kd_reads_by_default_what_ranks_cells_of_another_task(task):
    run = nk.search(MFKD(), task=nk.load(task, data="embedded"), budget="3 evaluations")
    read = {(step.fidelity, step.signal) for step in run.steps if step.fidelity.startswith("nst")}
    cheap = "nst-cheap on=cifar100" if task == "imagenet16-120" else "nst-cheap"
    assert read == {(str(Fidelity.parse(cheap)), "train_distillation")}


@pytest.mark.parametrize(("task", "other"), [("cifar10", "cifar100"), ("cifar100", "cifar10")])
def test_the_default_reading_ranks_better_on_the_other_task_than_the_reduced_trainings_accuracies(
    task, other
):
    """Over a tenth of the classes of `other`: what is chosen for `task` is not chosen by its own cells."""
    stats = pytest.importorskip("scipy.stats")
    bench = nk.load(other, data="embedded")
    cells = np.unique(isomorphism_classes())[::10]
    full = bench.evaluate_many(cells).valid_accuracy

    def tau(fidelity, signal="valid_accuracy"):
        better = -1 if signal == MEASURED_READING else 1
        values = bench.evaluate_many(cells, fidelity, signal=signal).value
        return stats.kendalltau(better * np.nan_to_num(values), full).statistic

    chosen = tau(MEASURED[0], MEASURED_READING)
    size = stats.kendalltau([parameters(nk.Cell.from_index(int(cell)), 10) for cell in cells], full).statistic
    reduced = ("none-cheap", "none-3-epochs", "none-4-epochs", "nst-cheap", "nst-3-epochs", "nst-4-epochs")
    assert all(tau(each) < min(size, chosen) for each in reduced)
    assert tau("none@12") > size
