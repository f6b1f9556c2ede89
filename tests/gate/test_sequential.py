"""The sequential test keeps its error under peeking, and its intervals are those of the t test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nasbench_kd.execution.gate_rules import GateRules
from nasbench_kd.stats.sequential import SequentialTest

STAGES = (20, 40, 80, 160, 320)


@given(
    error=st.floats(0.001, 0.5),
    comparisons=st.integers(1, 500),
    first=st.integers(5, 300),
    seeds=st.integers(300, 5000),
)
def test_the_looks_of_all_comparisons_spend_the_error_and_no_more(error, comparisons, first, seeds):
    test = SequentialTest(error, comparisons, GateRules(rope=1, first_stage=first).stages(seeds))
    levels = [test.level(stage) for stage in range(len(test.stages))]
    assert sum(levels) * comparisons == pytest.approx(error)
    assert min(levels) > 0


def test_the_interval_is_that_of_scipys_one_sample_t_test():
    differences = np.random.default_rng(0).gamma(1.0, size=40) - 0.7
    test = SequentialTest(0.05, 6, STAGES)
    assert test.level(1) == pytest.approx(0.05 / 6 * 20 / 320)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(1 - 2 * test.level(1))
    assert test.bounds(differences, 1) == pytest.approx((expected.low, expected.high))


def test_a_hand_worked_interval():
    # Mean 2, standard deviation sqrt(2.5), 5 pairs, t(4, 0.95) = 2.132 in every printed table.
    low, high = SequentialTest(0.05, 1, (5,)).bounds([0.0, 1.0, 2.0, 3.0, 4.0], 0)
    half = 2.132 * np.sqrt(2.5 / 5)
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_equal_pairs_leave_no_width(value):
    test = SequentialTest(0.05, 1, (20,))
    low, high = test.bounds(np.full(20, value), 0)
    assert low == high == pytest.approx(value)
    assert test.verdict(float(low), float(high), 1.0, 0, covered=True) == (
        "better" if value < -1 else "equivalent"
    )


def test_a_look_takes_exactly_its_pairs():
    with pytest.raises(ValueError, match="looks at 20 pairs, not 21"):
        SequentialTest(0.05, 1, STAGES).bounds(np.zeros(21), 0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.51, 0.9, "worse"),
        (0.5, 0.9, None),
        (-0.9, -0.51, "better"),
        (-0.5, 0.5, "equivalent"),
        (-0.6, 0.4, None),
        (-2.0, 2.0, None),
    ],
)
def test_a_verdict_needs_the_whole_interval_in_its_region(low, high, verdict):
    test = SequentialTest(0.05, 1, STAGES)
    assert test.verdict(low, high, 0.5, 0, covered=True) == verdict
    assert test.verdict(low, high, 0.5, len(STAGES) - 1, covered=True) == (verdict or "undecided")


def rate_of_worse(test: SequentialTest, differences: np.ndarray, rope: float, levels: list[float]) -> float:
    """Share of rows that any look calls worse, at given one-sided levels."""
    worse = np.zeros(len(differences), dtype=bool)
    for pairs, level in zip(test.stages, levels, strict=True):
        seen = differences[:, :pairs]
        half = stats.t.ppf(1 - level, pairs - 1) * seen.std(axis=1, ddof=1) / np.sqrt(pairs)
        worse |= seen.mean(axis=1) - half > rope
    return float(worse.mean())


def verdicts(test: SequentialTest, differences: np.ndarray, rope: float, largest: float = 10.0) -> list[str]:
    found = []
    for row in differences:
        for stage, pairs in enumerate(test.stages):
            low, high = test.bounds(row[:pairs], stage)
            covered = test.covered(row[:pairs], rope, largest)
            verdict = test.verdict(float(low), float(high), rope, stage, covered=bool(covered))
            if verdict:
                found.append(verdict)
                break
    return found


def test_peeking_does_not_raise_the_error_even_at_the_edge_of_the_region():
    """A loss of exactly the ROPE is the hardest case; plain t tests at each look fail it."""
    rng = np.random.default_rng(1)
    test = SequentialTest(0.05, 1, STAGES)
    differences = 0.5 + rng.normal(size=(2000, STAGES[-1]))
    spent = [test.level(stage) for stage in range(len(STAGES))]
    assert rate_of_worse(test, differences, 0.5, [0.05] * len(STAGES)) > 0.1
    measured = rate_of_worse(test, differences, 0.5, spent)
    assert stats.binom.cdf(round(measured * 2000), 2000, 0.05) < 0.999
    assert measured > 0.02, "the error that is allowed is used: a test that never rejects has no power"
    assert verdicts(test, differences[:300], 0.5).count("worse") / 300 == pytest.approx(
        rate_of_worse(test, differences[:300], 0.5, spent)
    )


def test_skewed_differences_keep_the_error_too():
    """Mostly ties and a few large ones, as two deterministic searches that part ways now and then."""
    rng = np.random.default_rng(2)
    test = SequentialTest(0.05, 1, STAGES)
    differences = np.where(rng.random((2000, STAGES[-1])) < 0.2, rng.normal(0, 3, (2000, STAGES[-1])), 0.0)
    spent = [test.level(stage) for stage in range(len(STAGES))]
    measured = rate_of_worse(test, differences + 0.5, 0.5, spent)
    assert stats.binom.cdf(round(measured * 2000), 2000, 0.05) < 0.999


def test_large_losses_are_called_early_and_equal_sides_equivalent():
    rng = np.random.default_rng(3)
    test = SequentialTest(0.05, 18, STAGES)
    assert set(verdicts(test, rng.normal(3.0, 1.0, (200, STAGES[-1])), 0.5)) == {"worse"}
    assert set(verdicts(test, rng.normal(0.0, 1.0, (200, STAGES[-1])), 0.5, largest=5.0)) == {"equivalent"}
    assert set(verdicts(test, rng.normal(-3.0, 1.0, (200, STAGES[-1])), 0.5)) == {"better"}


def test_equal_pairs_are_not_equivalent_before_sparse_losses_are_excluded():
    """Twenty equal pairs miss a loss of 20 points in 5 % of the runs in 36 % of cases: 0.95^20."""
    test = SequentialTest(0.05, 18, (20, 40, 80, 160, 320, 480))
    assert not test.covered(np.zeros(20), 0.5, 12.0)
    assert test.verdict(0.0, 0.0, 0.5, 0, covered=False) is None
    assert test.verdict(0.0, 0.0, 0.5, 5, covered=False) == "undecided"
    assert test.covered(np.zeros(test.pairs_needed(0.5, 12.0)), 0.5, 12.0)
    assert not test.covered(np.zeros(test.pairs_needed(0.5, 12.0) - 1), 0.5, 12.0)


@pytest.mark.parametrize(("share", "loss"), [(0.05, 20.0), (0.1, 10.0)])
def test_sparse_losses_of_two_regions_are_not_called_equivalent(share, loss):
    rng = np.random.default_rng(4)
    test = SequentialTest(0.05, 1, STAGES)
    differences = np.where(rng.random((1000, STAGES[-1])) < share, loss, 0.0)
    wrong = verdicts(test, differences, 0.5, largest=12.0).count("equivalent") / 1000
    assert wrong <= 0.05
    # Without the bet, the first look alone says so where none of its twenty pairs was hit.
    assert np.mean(differences[:, :20].max(axis=1) == 0) > 0.1


def test_stages_double_up_to_the_seeds():
    rules = GateRules(rope=1.0, first_stage=20)
    assert rules.stages(20) == (20,)
    assert rules.stages(50) == (20, 40, 50)
    assert rules.stages(320) == STAGES
