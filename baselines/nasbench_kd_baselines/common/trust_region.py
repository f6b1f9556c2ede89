"""The trust region of TuRBO-1 as a state machine: grows on successes, shrinks on failures, ends when tiny."""

from __future__ import annotations

import math


class TrustRegion:
    """Side length of a region and its counters (Eriksson et al., NeurIPS 2019; the reference constants).

    >>> region = TrustRegion()
    >>> for _ in range(3):
    ...     region.record(success=True)
    >>> region.length, region.radius
    (1.6, 6)

    Args:
        initial_length, minimum_length, maximum_length: of the side; below the minimum it is over.
        success_tolerance: successes in a row that double the side.
        failure_tolerance: failures in a row that halve it; the reference's ceil(max(4, d) / 1) for
            d = 6 edges and single evaluations.
        coordinates: of a point, the largest Hamming distance of two; by default a cell's six edges.
    """

    def __init__(
        self,
        initial_length: float = 0.8,
        minimum_length: float = 2**-7,
        maximum_length: float = 1.6,
        success_tolerance: int = 3,
        failure_tolerance: int = 6,
        coordinates: int = 6,
    ) -> None:
        self.length = initial_length
        self.minimum_length = minimum_length
        self.maximum_length = maximum_length
        self.success_tolerance = success_tolerance
        self.failure_tolerance = failure_tolerance
        self.coordinates = coordinates
        self.successes = 0
        self.failures = 0

    def record(self, success: bool) -> None:
        """Count an outcome; a run of one kind is broken by the other."""
        self.successes, self.failures = (self.successes + 1, 0) if success else (0, self.failures + 1)
        if self.successes == self.success_tolerance:
            self.length = min(2 * self.length, self.maximum_length)
            self.successes = 0
        elif self.failures == self.failure_tolerance:
            self.length /= 2
            self.failures = 0

    @property
    def over(self) -> bool:
        """Whether the region has shrunk below the minimum and a new one must start."""
        return self.length < self.minimum_length

    @property
    def radius(self) -> int:
        """Hamming radius of the region, 1 to the number of coordinates: the length 1 spans the whole space.

        Halves round up, so that the radius falls 5, 2, 1 among cells from the initial length.
        """
        return min(max(math.floor(self.coordinates * self.length + 0.5), 1), self.coordinates)
