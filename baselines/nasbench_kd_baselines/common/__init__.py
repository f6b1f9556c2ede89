"""What several search methods share."""
