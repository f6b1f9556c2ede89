"""Suites of many searches: what they say, how they are run, and where their runs are stored."""
