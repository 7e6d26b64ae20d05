"""Tables of a study: readers, columns, images, digests of rows, near duplicates."""
