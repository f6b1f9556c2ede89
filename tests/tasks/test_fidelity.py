"""The fidelity notation: round trips, defaults and errors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd.errors import FidelityError
from nasbench_kd.tasks.fidelity import DISTILLATIONS, FULL, RECIPES, SCORES, Fidelity, legend

distillations = st.one_of(
    st.just("none"),
    st.sets(st.sampled_from(DISTILLATIONS[1:]), min_size=1).map(
        lambda chosen: "+".join(sorted(chosen, key=DISTILLATIONS.index))
    ),
)
counts = st.integers(1, 200_000)
data_sets = st.sampled_from(["cifar10", "cifar100", "imagenet16-120", "my.set_2"])


@st.composite
def fidelities(draw: st.DrawFn) -> Fidelity:
    schedule = draw(st.integers(1, 999_999))
    trained_on = draw(st.none() | data_sets)
    if draw(st.booleans()):
        return Fidelity("none", 0, 0, score=draw(st.sampled_from(sorted(SCORES))), trained_on=trained_on)
    return Fidelity(
        distillation=draw(distillations),
        epochs=draw(st.integers(1, schedule)),
        schedule_epochs=schedule,
        train_images=draw(st.none() | counts),
        batch_size=draw(counts),
        image_size=draw(st.none() | counts),
        channels=draw(counts),
        cells_per_stage=draw(counts),
        trained_on=trained_on,
    )


@st.composite
def aliases(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(RECIPES)))
    epochs = Fidelity.parse(f"none{RECIPES[name]}").epochs
    read = draw(st.sampled_from(["", *(f"@{epoch}" for epoch in range(1, epochs))]))
    on = draw(st.sampled_from(["", " on=cifar100"]))
    return f"{draw(distillations)}-{name}{read}{on}"


@given(fidelities())
def test_the_short_string_leads_back(fidelity: Fidelity):
    assert Fidelity.parse(str(fidelity)) == fidelity
    assert Fidelity.parse(fidelity.alias) == fidelity
    assert fidelity.curve.epochs == fidelity.schedule_epochs
    assert fidelity.score or fidelity.curve.at_epoch(fidelity.epochs) == fidelity
    assert fidelity.on("cifar10").on(fidelity.trained_on) == fidelity
    assert (fidelity.on("cifar10") == fidelity) == (fidelity.trained_on == "cifar10")


@given(aliases())
def test_an_alias_is_the_shortest_name_of_its_recipe(alias: str):
    fidelity = Fidelity.parse(alias)
    assert fidelity.alias == alias
    assert Fidelity.parse(str(fidelity)) == fidelity
    assert len(alias) < len(str(fidelity))


@given(fidelities(), st.permutations(range(7)))
def test_the_order_of_the_parts_does_not_matter(fidelity: Fidelity, order: list[int]):
    head, *parts = str(fidelity).split()
    shuffled = [parts[place] for place in order if place < len(parts)]
    assert Fidelity.parse(" ".join([head, *shuffled])) == fidelity


@given(
    st.text(max_size=60)
    | st.from_regex(r"[a-z+]{1,9}[@-][0-9a-z/@]{1,9}( [a-z]{1,8}=[0-9a-z]{0,9}){0,3}", fullmatch=True)
)
def test_only_typed_errors_come_from_parsing(text: str):
    with contextlib.suppress(FidelityError):
        assert Fidelity.parse(str(Fidelity.parse(text))) == Fidelity.parse(text)


def test_defaults_are_the_full_recipe():
    assert Fidelity.parse("none@200") == FULL
    assert (FULL.batch_size, FULL.channels, FULL.cells_per_stage) == (256, 16, 5)
    assert FULL.train_images is None
    assert FULL.image_size is None


def test_aliases_stand_for_recipes_that_differ_in_their_distillation_alone():
    cheap = Fidelity.parse("nst-cheap")
    assert str(cheap) == "nst@1 images=2500 batch=32 size=16 channels=8 cells=1"
    assert cheap.without_distillation().alias == "none-cheap"
    assert Fidelity.parse("nst-4-epochs@1") == Fidelity.parse("nst@1/4 images=5000 batch=32 size=16 cells=1")
    assert Fidelity.parse("nst@12").alias == "nst@12"


def test_the_legend_says_what_aliases_stand_for():
    assert legend(["mf-kd with nst-cheap", "kd+nst-4-epochs@1 on=cifar100"]) == (
        f"X-cheap stands for X{RECIPES['cheap']}",
        f"X-4-epochs stands for X{RECIPES['4-epochs']}",
    )
    assert legend(["none@12", "nst-cheaper", "almost-dear", "nst@4 images=5"]) == ()


def test_a_training_elsewhere_needs_the_teacher_of_that_data_set():
    assert Fidelity.parse("nst-cheap").needs == ("teacher",)
    assert Fidelity.parse("nst-cheap on=cifar100").needs == ("teacher of cifar100",)
    assert Fidelity.parse("none-cheap on=cifar100").needs == Fidelity.parse("nwot").needs == ()


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
        ("nst-cheep", "Did you mean 'cheap'?"),
        ("nts-cheap", "Did you mean 'nst'?"),
        ("nst-cheap@2", "beyond a schedule"),
        ("nst-cheap images=5", "images is given twice"),
        ("nst@1 on=", "no name of a data set"),
        ("nst@1 on=a on=b", "on is given twice"),
        ("nst@1 on=../a", "no name of a data set"),
        ("nwt", "Did you mean 'nwot'?"),
        ("nwot images=32", "only on="),
    ],
)
def test_errors_name_the_part_and_the_nearest_match(text: str, hint: str):
    with pytest.raises(FidelityError) as caught:
        Fidelity.parse(text)
    assert hint in str(caught.value)
