"""What a change of the tree or of a name must leave as it is, pinned before the change.

    python -m tests.golden check            compare with the files under tests/golden/data
    python -m tests.golden check --exact    the same to the last bit
    python -m tests.golden write            write these files again

Five tiny studies go through the command line: a sequence classifier, a plain torch module (through
the library, since no study file can hold one), labels with texts, a table of columns, and several
models; with fixed settings and with automatic choices. Their stores are read as files. Pinned are

    every name in the store     runs, fingerprints, parts, sketches, factors, hidden states
    every JSON document         times, memory, versions and paths aside: see `volatile`
    every table                 columns, types, order of rows and values
    the command line            commands, options, defaults, exit codes of refusals
    the keys of a study         types, defaults, bounds

Texts, ids, whole numbers and digests are compared exactly. Floats differ in their last digits
between processors and versions of torch, so `check` and the tests allow them a tolerance, and pass
over what is marked "bits": digests of floats and of files, and names that depend on either or on
versions. `check --exact` compares these too: use it where the golden files were written on the same
machine with the same packages. So before a large change: `write` at the commit before it, then
`check --exact` after each step; commit nothing of this, unless a value was meant to change.

Models are made of fractions that every machine represents alike, and of files that no library
writes, so that their digests are the same everywhere. Names inside the project that are needed are
all in `names`.
"""
