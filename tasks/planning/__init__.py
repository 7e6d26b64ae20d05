"""Planning: forecast of time, memory and disk of a run, and selection of its method and sizes."""
