"""Mutants of the leverage of a training row."""

from tests.mutants.mutant import Mutant

_LEVERAGE = "tests/fastif/attribution/test_leverage.py"

LEVERAGE = (
    Mutant(
        "the leverage of all rows together",
        "fastif/attribution/leverage.py",
        "gram / factored.count\n",
        "gram\n",
        (_LEVERAGE,),
    ),
    Mutant(
        "the leverage in the dual system without its weight",
        "fastif/attribution/leverage.py",
        "            operator.damping\n"
        "            * factored.count\n"
        "            * inverse.extract_blocks(",
        "            operator.damping * inverse.extract_blocks(",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverages by root column and not as a block",
        "fastif/attribution/leverage.py",
        "weights = torch.linalg.solve(safe, loss_gradients.double()[:, :, None])[:, :, 0]",
        "weights = loss_gradients.double() / safe.diagonal(dim1=1, dim2=2)",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverages in the order of the pieces",
        "fastif/attribution/leverage.py",
        "    ordered_gaps[owners] = gaps\n",
        "    ordered_gaps[:] = gaps\n",
        (_LEVERAGE,),
    ),
    Mutant(
        "a row that alone determines a direction has an effect",
        "fastif/attribution/leverage.py",
        "solvable = finite & (min_eigenvalues > MIN_EIGENVALUE_GAP)",
        "solvable = finite",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverage of a sampled curvature",
        "fastif/attribution/leverage.py",
        "if factored.on_all_data() is not factored or factored.count != len(train):",
        "if False:",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverage that was refused is left out without a word",
        "fastif/attribution/leverage.py",
        "        raise _make_error(reason)\n    return NoLeverage(reason)",
        "        pass\n    return NoLeverage(reason)",
        (_LEVERAGE,),
    ),
)
