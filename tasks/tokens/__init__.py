"""Tables of tagged sentences: reading, search for wrong spans, review, and corrected files."""
