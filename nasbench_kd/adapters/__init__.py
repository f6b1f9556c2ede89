"""What other benchmark packages read: the tables in their forms."""
