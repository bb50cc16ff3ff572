"""Weights in the order in which the kernels of a processor read them; see kernels/copies.py."""

import mmap
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.copies import Copies

PANEL = 16  # columns of a panel, COLUMNS in gemm.h
LINE = 16  # floats of a cache line
HUGE = 1 << 21  # bytes of a huge page


def plain(weight: Tensor) -> Tensor:
    if weight.dtype != torch.float32 or not weight.is_cpu:
        raise TypeError(
            f"a weight of a kernel of this processor must be float32 on the CPU, got "
            f"{weight.dtype} on {weight.device}. Move the model, or use another provider."
        )
    return weight.detach()


def panels(weight: Tensor) -> Tensor:
    """[e, c] -> [ceil(e / 16), c, 16], zeros for features that are not there."""
    padded = F.pad(plain(weight), (0, 0, 0, -weight.shape[0] % PANEL))
    return padded.view(-1, PANEL, weight.shape[1]).transpose(1, 2).contiguous()


def padded_bias(bias: Tensor) -> Tensor:
    return F.pad(plain(bias), (0, -bias.shape[0] % PANEL)).contiguous()


def taps(weight: Tensor) -> Tensor:
    """[c, 1, (kd,) 3, 3] -> [9 kd, c]."""
    return plain(weight).reshape(weight.shape[0], -1).t().contiguous()


def as_it_is(weight: Tensor) -> Tensor:
    return plain(weight).contiguous()


def side_by_side(packed: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The same values in one block of memory, in this order, each from a cache line on."""
    sizes = [0 if one is None else -(-one.numel() // LINE) * LINE for one in packed]
    parts = huge_pages(sum(sizes)).split(sizes)
    return [
        None if one is None else part[: one.numel()].view(one.shape).copy_(one)
        for one, part in zip(packed, parts, strict=True)
    ]


def huge_pages(size: int) -> Tensor:
    """[size] float32 of memory of its own, on huge pages where the system has them: two networks in
    turn have more small ones than a processor keeps the addresses of."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(size)
    num_bytes = max(1, -(-4 * size // HUGE)) * HUGE
    # A private mapping: Python's own choice is shared memory, which has no huge pages by default.
    try:
        memory = mmap.mmap(-1, num_bytes + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return torch.empty(size)  # says what memory is short of, if it is
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    start = -whole.data_ptr() % HUGE
    return whole[start : start + 4 * size].view(torch.float32)


LAYOUTS = {"panels": panels, "bias": padded_bias, "taps": taps, "as it is": as_it_is}
PACKED = Copies(LAYOUTS)  # of the process: entries live as long as their weights
