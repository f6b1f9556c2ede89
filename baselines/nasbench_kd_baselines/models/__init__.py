"""Models that predict accuracies, for the search methods beside them."""
