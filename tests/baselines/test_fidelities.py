"""Default fidelities are chosen from what a task has, and what it lacks is named."""

from __future__ import annotations

import pytest

from nasbench_kd import Fidelity, SearchView
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.spaces.nasbench201 import SPACE
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd_baselines.common.fidelities import distilled_fidelities, ladder, price


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
