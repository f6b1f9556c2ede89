"""The fidelity notation: round trips, defaults and errors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd.errors import FidelityError
from nasbench_kd.tasks.fidelity import DISTILLATIONS, FULL, Fidelity

distillations = st.one_of(
    st.just("none"),
    st.sets(st.sampled_from(DISTILLATIONS[1:]), min_size=1).map(
        lambda chosen: "+".join(sorted(chosen, key=DISTILLATIONS.index))
    ),
)
counts = st.integers(1, 200_000)


@st.composite
def fidelities(draw: st.DrawFn) -> Fidelity:
    schedule = draw(st.integers(1, 999_999))
    return Fidelity(
        distillation=draw(distillations),
        epochs=draw(st.integers(1, schedule)),
        schedule_epochs=schedule,
        train_images=draw(st.none() | counts),
        batch_size=draw(counts),
        image_size=draw(st.none() | counts),
        channels=draw(counts),
        cells_per_stage=draw(counts),
    )


@given(fidelities())
def test_the_short_string_leads_back(fidelity: Fidelity):
    assert Fidelity.parse(str(fidelity)) == fidelity
    assert fidelity.curve.epochs == fidelity.schedule_epochs
    assert fidelity.curve.at_epoch(fidelity.epochs) == fidelity


@given(st.text(max_size=60) | st.from_regex(r"[a-z+]{1,9}@[0-9/]{1,9}( [a-z]{1,8}=[0-9a-z]{0,9}){0,3}"))
def test_only_typed_errors_come_from_parsing(text: str):
    with contextlib.suppress(FidelityError):
        assert Fidelity.parse(str(Fidelity.parse(text))) == Fidelity.parse(text)


def test_defaults_are_the_full_recipe():
    assert Fidelity.parse("none@200") == FULL
    assert (FULL.batch_size, FULL.channels, FULL.cells_per_stage) == (256, 16, 5)
    assert FULL.train_images is None
    assert FULL.image_size is None


def test_epoch_12_of_200_is_not_the_12_epoch_schedule():
    assert Fidelity.parse("none@12/200") != Fidelity.parse("none@12")
    assert Fidelity.parse("none@12/200").curve == FULL


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nts@12", "Did you mean 'nst'?"),
        ("nst@12 imges=5", "Did you mean 'images'?"),
        ("nst", "the form is"),
        ("nst@0", "at least 1"),
        ("nst@12/4", "beyond a schedule"),
        ("nst+kd@4", "canonical"),
        ("none+kd@4", "canonical"),
        ("kd+kd@4", "canonical"),
        ("nst@4 size=1 size=2", "twice"),
        ("nst@4 size=big", "whole number"),
        ("nst@٤", "the form is"),
    ],
)
def test_errors_name_the_part_and_the_nearest_match(text: str, hint: str):
    with pytest.raises(FidelityError) as caught:
        Fidelity.parse(text)
    assert hint in str(caught.value)
