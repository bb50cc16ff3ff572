"""Products of rows under autocast on a GPU: in its precision.

Autocast casts at torch's own operators; these are not among them. Sums and what is written stay in
float32. Rows are cast before a product: one that cast them as it loaded them took 1.1 to 1.7 times
as long, which is more than the cast (H200; docs/LOG.md, 2026-11-27). On a processor the plain path
runs under autocast, for the C++ is in float32.
"""

import torch
from torch import Tensor

from nitrogen.kernels.copies import Copies

COPIES = Copies(
    {
        torch.bfloat16: lambda weight: weight.detach().bfloat16(),
        torch.float16: lambda weight: weight.detach().half(),
    }
)


def lowered(weight: Tensor) -> Tensor:
    """The weight in autocast's precision, a copy that is kept, or the weight itself: without
    autocast, off a GPU, and where its gradient is wanted."""
    dtype = wanted(weight)
    if dtype is None:
        return weight
    return weight.to(dtype) if torch.compiler.is_compiling() else COPIES.get(weight, dtype)


def lowered_map(x: Tensor) -> Tensor:
    """The same of what is no weight: nothing is kept."""
    dtype = wanted(x)
    return x if dtype is None else x.to(dtype)


def wanted(x: Tensor) -> torch.dtype | None:
    """What autocast asks of x, if anything."""
    if not x.is_cuda or x.dtype != torch.float32 or not torch.is_autocast_enabled("cuda"):
        return None
    if torch.is_grad_enabled() and x.requires_grad:
        return None
    dtype = torch.get_autocast_dtype("cuda")
    return None if dtype == torch.float32 else dtype
