"""The data-quality report: one HTML page about one run, built from the store alone.

`run_data` reads the run, one module computes each section as plain rows, `charts` renders the
figures, and `page` fills the template.
"""
