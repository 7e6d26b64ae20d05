"""The data-quality report: one page about one night, made from the store alone.

`night` reads what there is, one module makes each section as plain rows, `charts` draws, and `page`
puts it all into a template.
"""
