"""Planning: what a run costs in seconds, memory and disk, and which method fits."""
