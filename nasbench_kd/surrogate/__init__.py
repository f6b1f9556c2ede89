"""Fills what was not measured with draws of a fitted surrogate, always labelled as such (docs/surrogate.md)."""
