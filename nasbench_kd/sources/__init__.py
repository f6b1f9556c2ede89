"""One module for each origin of facts; each turns what it reads into the table's own form."""
