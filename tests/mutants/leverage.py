"""Mutants of the leverage of a training row."""

from tests.mutants.mutant import Mutant

_LEVERAGE = "tests/fastif/test_leverage.py"

LEVERAGE = (
    Mutant(
        "the leverage of all rows together",
        "fastif/attribution/leverage.py",
        "met / rooted.count)",
        "met)",
        (_LEVERAGE,),
    ),
    Mutant(
        "the leverage in the dual system without its weight",
        "fastif/attribution/leverage.py",
        "gaps = operator.damping * rooted.count * inverse.blocks(",
        "gaps = operator.damping * inverse.blocks(",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverages by root column and not as a block",
        "fastif/attribution/leverage.py",
        "weights = torch.linalg.solve(safe, own.double()[:, :, None])[:, :, 0]",
        "weights = own.double() / safe.diagonal(dim1=1, dim2=2)",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverages in the order of the pieces",
        "fastif/attribution/leverage.py",
        "    found[owners] = gaps\n",
        "    found[:] = gaps\n",
        (_LEVERAGE,),
    ),
    Mutant(
        "a row that alone holds a direction has an effect",
        "fastif/attribution/leverage.py",
        "held = finite & (least > NEGLIGIBLE)",
        "held = finite",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverage of a sampled curvature",
        "fastif/attribution/leverage.py",
        "if rooted.whole() is not rooted or rooted.count != len(train):",
        "if False:",
        (_LEVERAGE,),
    ),
    Mutant(
        "leverage that was refused is left out without a word",
        "fastif/attribution/leverage.py",
        "        raise _refusal(reason)\n    return Off(reason)",
        "        pass\n    return Off(reason)",
        (_LEVERAGE,),
    ),
)
