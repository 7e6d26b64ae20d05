"""Random small studies through the command line, each compared with a dense float64 solve.

`python -m tests.fuzz FIRST LAST` samples one study a seed, runs `fastif audit` on it (some with a
second run), reads the store's Parquet tables and compares every stored effect with a solve that
plain autograd and dense matrices give. Nothing here but `command` imports a module of the project.

Seeds from a million on have other targets than one class a row, other losses, or weights of rows.

A case ends as one of:

    exact      every number within 1e-4 of the largest effect (sketches, EK-FAC: see `check`)
    bounded    within the error that the stored residual allows
    reported   refused, or not converged, with a message and without a traceback
    WRONG      a traceback, or another number without a message
"""
