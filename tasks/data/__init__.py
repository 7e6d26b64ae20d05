"""Tables of a study: file readers, column checks, images, row hashes, near duplicates."""
