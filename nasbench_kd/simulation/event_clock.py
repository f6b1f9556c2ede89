"""The event clock: 1 to N parallel workers in simulated time, counted in whole microseconds."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

JobT = TypeVar("JobT")


class EventClock(Generic[JobT]):
    """Starts jobs on idle workers and returns them in the order in which they finish.

    Jobs that finish at the same microsecond return in the order in which they were started.
    Nothing but the durations that are passed in moves the clock, so a simulation is the same on
    every machine.

    >>> clock = EventClock(workers=2)
    >>> clock.start("long", 30), clock.start("short", 10)
    ((0, 30), (0, 10))
    >>> clock.next_finished(), clock.now, clock.idle
    ('short', 10, 1)
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"a clock needs at least one worker, not {workers}")
        self.now = 0
        """Simulated microseconds since the start."""
        self.idle = workers
        """Workers without a job."""
        self._running: list[tuple[int, int, JobT]] = []
        self._started = 0

    def start(self, job: JobT, duration: int, not_before: int = 0) -> tuple[int, int]:
        """Occupy an idle worker and return (start, finish) in microseconds.

        A job that needs something ready only at `not_before` holds its worker until then. Raises
        `RuntimeError` where no worker is idle and `ValueError` on a negative duration.
        """
        if not self.idle:
            raise RuntimeError("no worker is idle: take a finished job first")
        if duration < 0:
            raise ValueError(f"a job cannot last {duration} microseconds")
        begin = not_before if not_before > self.now else self.now
        finish = begin + duration
        heapq.heappush(self._running, (finish, self._started, job))
        self._started += 1
        self.idle -= 1
        return begin, finish

    def next_finished(self) -> JobT | None:
        """Advance to the next finish and return its job; None where nothing runs."""
        if not self._running:
            return None
        self.now, _, job = heapq.heappop(self._running)
        self.idle += 1
        return job
