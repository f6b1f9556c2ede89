"""Answers of one task: the blind view for searches, and the scores for reports."""
