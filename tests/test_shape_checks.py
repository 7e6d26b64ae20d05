"""What the checks of annotations refuse, and what they let pass."""

import importlib
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch

from tests.shape_checks import CHECKED_CALLS, install

SOURCE = """
from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


def product(left: Float[Tensor, "n d"], right: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return (left * right).sum(1)


def outer(left: Float[Tensor, " n"], right: Float[Tensor, " m"]) -> Float[Tensor, "n m"]:
    inner = product(torch_ones(5, 7), torch_ones(5, 7))  # another n, in a scope of its own
    return left[:, None] * right if len(inner) == 5 else left


def wrong(left: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return left.sum(0)


def rows(left: Float[Tensor, "n d"], right: Float[Tensor, "n d"]) -> Iterator[Float[Tensor, " d"]]:
    yield from left + right


def count(number: int) -> int:
    return number + 1


def double(number: object) -> object:
    def inner(whole: int) -> int:
        return 2 * whole

    return inner(number)


def triple(number: int) -> object:
    return 3 * number


@dataclass(frozen=True)
class Pair:
    left: Float[Tensor, "n d"]
    right: Float[Tensor, "n d"]

    @property
    def size(self) -> int:
        return len(self.left)

    @classmethod
    def twice(cls, left: Float[Tensor, "n d"]) -> "Pair":
        return cls(left, left)


def torch_ones(*shape: int) -> Tensor:
    import torch

    return torch.ones(*shape)
"""
WIDE, TALL = torch.ones(2, 3), torch.ones(3, 2)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A package of these functions, imported under the checks."""
    folder = tmp_path_factory.mktemp("checked")
    (folder / "checked_package").mkdir()
    (folder / "checked_package" / "__init__.py").write_text(SOURCE)
    finders = list(sys.meta_path)
    sys.path.insert(0, str(folder))
    install("checked_package")
    yield importlib.import_module("checked_package")
    sys.meta_path[:] = finders
    sys.path.remove(str(folder))
    del sys.modules["checked_package"]


def test_what_fits_passes(checked):
    assert checked.product(WIDE, WIDE).tolist() == [3, 3]
    assert checked.outer(torch.ones(2), torch.ones(3)).shape == (2, 3)
    assert len(list(checked.rows(WIDE, WIDE))) == 2
    assert checked.count(1) == 2
    assert checked.Pair.twice(WIDE).size == 2
    with pytest.raises(FrozenInstanceError):
        checked.Pair(WIDE, WIDE).left = TALL


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.product(WIDE, TALL),
        lambda m: m.product(WIDE, [1.0]),
        lambda m: m.product(WIDE.long(), WIDE.long()),
        lambda m: m.wrong(WIDE),
        lambda m: list(m.rows(WIDE, TALL)),
        lambda m: m.count("1"),
        lambda m: m.Pair(WIDE, TALL),
        lambda m: m.Pair.twice(torch.ones(2)),
    ],
)
def test_what_does_not_fit_is_refused(checked, call):
    with pytest.raises(Exception, match=r"(?i)violat|type-check"):
        call(checked)


def test_a_package_that_is_imported_already_is_refused():
    with pytest.raises(RuntimeError, match="imported already"):
        install("torch")


@pytest.mark.parametrize("name", ["double", "triple"])
def test_the_first_calls_of_a_function_are_checked(checked, name):
    """Also of a function inside another one, which is a new function at each call of that."""
    refused = 0
    for _ in range(CHECKED_CALLS + 5):
        try:
            getattr(checked, name)(1.5)
        except Exception:
            refused += 1
    assert refused == CHECKED_CALLS
