"""Tables of measured entries: their format, where they live, and how patches are merged into them."""
