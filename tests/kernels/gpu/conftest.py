"""Every kernel in Triton's interpreter. Only where TRITON_INTERPRET=1 stood in the environment
before Triton was imported: `tests/kernels/test_interpreter.py` starts such a process.
"""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
else:
    import triton.language as tl
    from triton.runtime import interpreter

    # The interpreter patches the language anew at every call of a device function, 6 ms each: with
    # this, once for the process (attention over 48 keys: 1.3 s instead of 14).
    interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    interpreter._patch_lang = lambda _: interpreter._LangPatchScope()

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=DTYPES, ids=["fp32", "bf16", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """torch.empty returns NaN: what a kernel should have written and did not, shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def draw(dtype: torch.dtype) -> Callable[..., Tensor]:
    """Normal numbers of a shape, of unit variance after a product over the last axis if asked."""

    def draw(*shape: int, weight: bool = False) -> Tensor:
        values = torch.randn(*shape) / (shape[-1] ** 0.5 if weight else 1.0)
        return values.to(dtype)

    return draw


@pytest.fixture
def row_set() -> Callable[..., tuple[Tensor, Tensor]]:
    """(rows, counts) of quarters [m]: a stable sort by width, held rows last."""

    def row_set(quarters: Tensor) -> tuple[Tensor, Tensor]:
        order = [(quarters == q).nonzero().squeeze(1) for q in (1, 2, 3, 4, 0)]
        return torch.cat(order), torch.bincount(quarters, minlength=5)

    return row_set


@pytest.fixture
def check(dtype: torch.dtype) -> Callable[[Tensor, Tensor], None]:
    """Asserts the stated tolerance, and that every defined value was written."""
    from nitrogen.kernels.reference import TOLERANCES, relative_rms

    def check(got: Tensor, expected: Tensor) -> None:
        assert got.shape == expected.shape
        assert relative_rms(got, expected) <= TOLERANCES[dtype]

    return check


@pytest.fixture
def placeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's products as a matrix unit makes them: a row's sum does not depend on where
    in its block the row stands. numpy's BLAS does not keep that (seen at [64, 16] @ [16, 64]), so
    the sum is taken in float64, where the order is lost in the rounding to float32.
    """

    def create_dot(self, a, b, acc, *_):  # type: ignore[no-untyped-def]
        with np.errstate(invalid="ignore"):
            total = a.data.astype("float64") @ b.data.astype("float64")
        return interpreter.TensorHandle(
            (total.astype("float32") + acc.data).astype("float32"), acc.dtype.scalar
        )

    monkeypatch.setattr(type(interpreter.interpreter_builder), "create_dot", create_dot)
