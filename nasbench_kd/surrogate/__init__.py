"""Fills what was not measured with frozen draws of a fitted surrogate, always labelled as such (docs/surrogate.md)."""
