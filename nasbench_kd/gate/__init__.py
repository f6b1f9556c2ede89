"""The gate: holds the quality of a search to stored runs."""
