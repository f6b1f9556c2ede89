"""Statistics of repeated runs: estimates with intervals, rank correlations and sequential tests."""
