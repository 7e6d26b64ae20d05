"""Malformed and unusual inputs on the command line: how each is answered.

`python -m benchmarks.malformed before` and `python -m benchmarks.malformed after` try every case
on the code of this checkout and keep the answers under that name in the result; about ten minutes
of processor each. Cases about rights and full disks need root, and are left out otherwise.
"""
