"""Seeded mutants: small wrong changes of the code, each of which named tests have to notice.

`python -m tests.mutants [--only NAME ...]` copies the tree, applies one mutant after the other to
the copy, and runs the tests that it names. It ends with 1 if one survives, if its snippet is not
found exactly once any more, or if the tests fail without it.
"""
