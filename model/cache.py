"""The cache of one sampling run: what held rows last contributed.

One owner: the network writes into the maps that it is given and hands them back. A cache is never
kept on a module and never shared between runs or guidance branches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.model.config import ArchConfig


@dataclass(frozen=True)
class Cache:
    """Feature maps in the order of the blocks.

    residuals: per block [b, h, w, c], the output of its MLP before the gate.
    attended: per attention block [b, h, w, c], the output of its attention before the gate.
    qkv: per attention block [b, h, w, 3 c], queries, keys and values.
    """

    residuals: tuple[Tensor, ...]
    attended: tuple[Tensor, ...]
    qkv: tuple[Tensor, ...]

    def maps(self) -> tuple[Tensor, ...]:
        return (*self.residuals, *self.attended, *self.qkv)

    def select(self, samples: Tensor) -> "Cache":
        """The cache of some samples; samples: [k] int64. Copies."""
        return self._each(lambda m: m[samples])

    def put(self, samples: Tensor, other: "Cache") -> "Cache":
        """This cache with `other` ([k, ...]) written at `samples`, in place."""
        for mine, theirs in zip(self.maps(), other.maps(), strict=True):
            mine.index_copy_(0, samples, theirs)
        return self

    def append(self, other: "Cache") -> "Cache":
        """The samples of this cache, then those of `other`."""
        pairs = iter([torch.cat(pair) for pair in zip(self.maps(), other.maps(), strict=True)])
        return self._each(lambda _: next(pairs))

    def blank(self) -> "Cache":
        """Zero maps of the same shapes: what a run starts with."""
        return self._each(torch.zeros_like)

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Cache":
        return Cache(
            tuple(function(m) for m in self.residuals),
            tuple(function(m) for m in self.attended),
            tuple(function(m) for m in self.qkv),
        )


def empty_cache(
    arch: ArchConfig,
    num_samples: int,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
) -> Cache:
    """Zero maps for pictures of height x width px."""

    def zeros(level: int, multiple: int = 1) -> Tensor:
        side = arch.patch_size * 2**level
        shape = (num_samples, height // side, width // side, arch.channels[level] * multiple)
        return torch.zeros(shape, device=device)

    blocks = arch.blocks()
    return Cache(
        residuals=tuple(zeros(level) for level, _ in blocks),
        attended=tuple(zeros(level) for level, has_attention in blocks if has_attention),
        qkv=tuple(zeros(level, 3) for level, has_attention in blocks if has_attention),
    )
