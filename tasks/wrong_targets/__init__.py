"""Search for wrong targets that are several labels a row, or numbers: table, review, correction."""
