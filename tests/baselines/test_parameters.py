"""Every method's constructor stores its arguments, takes them by name, and refuses what lies out of range."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from nasbench_kd.errors import ArgumentError, NasbenchKDError
from nasbench_kd.simulation.optimizer import Optimizer
from nasbench_kd.simulation.parameters import integer, one_of, parameter, real, with_parameters
from nasbench_kd.simulation.registry import make_optimizer, optimizer_class, registered

OURS = [name for name, point in registered().items() if point.value.startswith("nasbench_kd_baselines.")]


@with_parameters
class Base(Optimizer):
    share: float = parameter(0.5, real(0, below=1))
    count: int | None = parameter(None, integer(2))
    mode: str = parameter("fast", one_of(("fast", "slow")))


@with_parameters
class Heir(Base):
    share: float = 0.25
    extra: int = 3


@pytest.mark.parametrize("name", OURS)
def test_a_constructor_stores_its_arguments_and_nothing_else(name):
    kind = optimizer_class(name)
    assert is_dataclass(kind)
    optimizer = kind()
    defaults = {each.name: each.default for each in fields(kind)}
    assert vars(optimizer) == defaults
    again = make_optimizer(name, {key: value for key, value in defaults.items() if value is not None})
    assert vars(again) == defaults


@pytest.mark.parametrize("name", OURS)
def test_a_positional_argument_is_refused_with_the_way_to_write_it(name):
    kind = optimizer_class(name)
    first = fields(kind)[0].name
    with pytest.raises(ArgumentError, match=rf"write {kind.__name__}\({first}='none@12'\)"):
        kind("none@12")


@pytest.mark.parametrize("name", OURS)
def test_every_number_has_its_range(name):
    kind = optimizer_class(name)
    for each in fields(kind):
        if isinstance(each.default, bool):
            with pytest.raises(NasbenchKDError, match=f"{each.name} is true or false"):
                kind(**{each.name: 1})
        elif isinstance(each.default, int | float):
            with pytest.raises(NasbenchKDError, match=f"{each.name} is a .*number"):
                kind(**{each.name: "many"})
            with pytest.raises(NasbenchKDError, match=f"{each.name} is a .*number"):
                kind(**{each.name: float("nan")})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 1}, "share is a number of at least 0 and below 1, not 1"),
        ({"share": -0.1}, "not -0.1"),
        ({"share": True}, "not True"),
        ({"share": None}, "not None"),
        ({"count": 1}, "count is a whole number of at least 2, not 1"),
        ({"count": 2.5}, "not 2.5"),
        ({"mode": "slwo"}, "mode is one of fast, slow, not 'slwo'. Did you mean 'slow'"),
    ],
)
def test_constraints_name_the_argument_its_range_and_the_value(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Base(**arguments)


def test_a_subclass_that_changes_a_default_keeps_the_constraint():
    assert (Heir().share, Heir().mode, Heir().extra) == (0.25, "fast", 3)
    with pytest.raises(ArgumentError, match="share is a number"):
        Heir(share=2.0)
    assert Heir(count=np.int64(4), share=np.float32(0.5)).count == 4
