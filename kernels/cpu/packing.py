"""Weights in the order in which the kernels read them, packed once for each value.

A packed copy is good for one (tensor, version, address). `_version` counts every write that torch
sees: `weight.mul_(2)` under no_grad, an optimiser's foreach step, load_state_dict, `weight.data =
other` (the address changes). It does not count a write that goes past autograd: a fused optimiser,
`weight.data.mul_(2)`, numpy or dlpack memory shared with the weight, a pointer handed to C. Who
writes like that must say so with `torch.autograd.graph.increment_version(weight)` behind the write
(`note_writes` in pipelines/training/optimizer.py does, after every fused step), or the kernels go
on with the old value.
"""

import mmap
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

PANEL = 16  # columns of a panel, COLUMNS in gemm.h
LINE = 16  # floats of a cache line
HUGE = 1 << 21  # bytes of a huge page


class Packed:
    """A tensor as the kernels read it, made once for each value of its source.

    The entry of a source dies with it, and is made anew when the source was written to.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], tuple[Any, int, Tensor, Tensor]] = {}

    def get(self, source: Tensor, layout: str) -> Tensor:
        """layout: a name in LAYOUTS. Raises TypeError unless float32 on the CPU."""
        key = (id(source), layout)
        entry = self._entries.get(key)
        if source.is_inference():
            return LAYOUTS[layout](source)  # such tensors do not count their versions
        version = source._version
        if entry and entry[0]() is source and entry[1] == version and same_memory(entry[2], source):
            return entry[3]
        packed = LAYOUTS[layout](source)
        reference = weakref.ref(source, lambda _: self._entries.pop(key, None))
        # The alias keeps the memory: `source.data = other` could get the same address otherwise.
        self._entries[key] = (reference, version, source.detach(), packed)
        return packed


def same_memory(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr()


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
PACKED = Packed()  # of the process: entries live as long as their weights
