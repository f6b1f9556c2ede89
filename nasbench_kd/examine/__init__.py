"""Examinations: of the data, of one cell, and of the landscape."""
