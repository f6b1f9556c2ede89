"""The event clock against finish times worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd.simulation.event_clock import EventClock


def drain(clock: EventClock[str]) -> list[tuple[str, int]]:
    finished = []
    while (job := clock.next_finished()) is not None:
        finished.append((job, clock.now))
    return finished


def test_one_worker_runs_one_after_another():
    clock: EventClock[str] = EventClock(1)
    assert clock.start("a", 30) == (0, 30)
    assert clock.idle == 0
    assert (clock.next_finished(), clock.now) == ("a", 30)
    assert clock.start("b", 5) == (30, 35)
    assert drain(clock) == [("b", 35)]


def test_two_workers_by_hand():
    # worker 1: a 0-40, then d 40-50; worker 2: b 0-10, then c 10-40. c and a tie at 40: a was first.
    clock: EventClock[str] = EventClock(2)
    clock.start("a", 40)
    clock.start("b", 10)
    assert clock.next_finished() == "b"
    assert clock.start("c", 30) == (10, 40)
    assert clock.next_finished() == "a"
    assert clock.start("d", 10) == (40, 50)
    assert drain(clock) == [("c", 40), ("d", 50)]


def test_a_job_that_is_not_ready_holds_its_worker():
    clock: EventClock[str] = EventClock(2)
    assert clock.start("waits", 10, not_before=100) == (100, 110)
    assert clock.start("runs", 20) == (0, 20)
    assert drain(clock) == [("runs", 20), ("waits", 110)]


def test_misuse_is_an_error():
    with pytest.raises(ValueError, match="at least one worker"):
        EventClock(0)
    clock: EventClock[str] = EventClock(1)
    with pytest.raises(ValueError, match="cannot last"):
        clock.start("x", -1)
    clock.start("x", 1)
    with pytest.raises(RuntimeError, match="no worker is idle"):
        clock.start("y", 1)


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 5))
def test_time_never_runs_back_and_no_work_is_lost(durations: list[int], workers: int):
    clock: EventClock[int] = EventClock(workers)
    finished: list[int] = []
    busy = 0
    for number, duration in enumerate(durations):
        if not clock.idle:
            before = clock.now
            job = clock.next_finished()
            assert job is not None
            assert clock.now >= before
            finished.append(job)
        start, finish = clock.start(number, duration)
        assert start == clock.now
        busy += finish - start
    while (job := clock.next_finished()) is not None:
        finished.append(job)
    assert sorted(finished) == list(range(len(durations)))
    assert busy == sum(durations)
    # Greedy scheduling keeps to Graham's bound.
    if durations:
        assert clock.now <= sum(durations) / workers + max(durations)
