"""The whole network over rows as one call of C++: its weights listed once, its inputs each time."""

from collections.abc import Sequence
from ctypes import Array, addressof, c_int64
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.cpu.library import load
from nitrogen.kernels.cpu.packing import LAYOUTS, side_by_side
from nitrogen.kernels.cpu.tensors import dense, writable

Stamp = tuple[tuple[int, int] | None, ...]
# The stamp, the numbers and addresses, and what these belong to: one value, so that another thread
# that lists anew leaves the memory of a call that is under way alone.
Listed = tuple[Stamp, Tensor, list[Tensor | None]]


@dataclass
class Program:
    """What `network.cpp` walks: the numbers of an architecture, then the address of each weight.

    numbers: levels, patch, image channels, conditioning channels, frequencies, classes with the
    one for none, modulations, attention blocks, channels a head, hidden ratio; then channels and
    number of blocks of every level. layouts: of the weights, names in LAYOUTS. maps: (pixels a
    side, channels) of a row of each map of the cache.
    """

    numbers: tuple[int, ...]
    layouts: tuple[str, ...]
    maps: tuple[tuple[int, int], ...]
    _known: Listed | None = None

    def listed(self, weights: Sequence[Tensor | None]) -> Listed:
        """Numbers and addresses; packed anew when a weight was written (see copies.py). Whoever
        reads the addresses holds the whole value meanwhile."""
        stamp = tuple(None if w is None else (w._version, w.data_ptr()) for w in weights)
        known = self._known
        if known is None or known[0] != stamp:
            assert len(weights) == len(self.layouts), "every weight has its layout"
            packed = side_by_side(
                [
                    None if weight is None else LAYOUTS[layout](weight)
                    for weight, layout in zip(weights, self.layouts, strict=True)
                ]
            )
            addresses = [0 if one is None else one.data_ptr() for one in packed]
            listed = torch.tensor([*self.numbers, *addresses], dtype=torch.int64)
            # While these aliases hold their memory, no other weight can have its address.
            held = [None if weight is None else weight.detach() for weight in weights]
            known = self._known = (stamp, listed, [*packed, *held])
        return known


def network(
    program: Program,
    weights: Sequence[Tensor | None],
    x_t: Tensor,  # [b, h, w, c]
    sigmas: tuple[Tensor, Tensor | None],  # [b] each: sigma, and sigma_next of a strided network
    labels: Tensor,  # [b] int64
    widths: Tensor,  # [b, rh, rw] int64
    caps: Tensor | None,  # [b, levels] int64
    maps: Sequence[Tensor],  # in the order of the blocks, written at active rows
    sigma_data: float,
) -> Tensor:
    """D [b, h, w, c]; see network.cpp. Raises IndexError for a label or width out of range."""
    x_t, sigma, sigma_next = dense(x_t), dense(sigmas[0]), sigmas[1]
    sigma_next = None if sigma_next is None else dense(sigma_next)
    labels, widths = dense(labels, torch.int64), dense(widths, torch.int64)
    caps = None if caps is None else dense(caps, torch.int64)
    b, height, width, _ = x_t.shape
    after = sigma if sigma_next is None else sigma_next
    if not len(sigma) == len(after) == len(labels) == len(widths) == b:
        raise TypeError(
            "sigma, sigma_next, labels and widths must have one entry a sample, got "
            f"{len(sigma)}, {len(after)}, {len(labels)} and {len(widths)} for {b}."
        )
    if caps is not None and caps.shape != (b, program.numbers[0]):
        raise TypeError(
            f"caps must be [{b}, {program.numbers[0]}], one a sample and level, got "
            f"{list(caps.shape)}."
        )
    cache = cache_addresses(program, maps, x_t.shape)
    known, out = program.listed(weights), torch.empty_like(x_t)
    load()[0].network(
        known[1].data_ptr(), x_t.data_ptr(), sigma.data_ptr(),
        None if sigma_next is None else sigma_next.data_ptr(), labels.data_ptr(),
        widths.data_ptr(), None if caps is None else caps.data_ptr(), addressof(cache),
        sigma_data, b, height, width, *widths.shape[1:], out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def cache_addresses(
    program: Program, maps: Sequence[Tensor], picture: torch.Size
) -> Array[c_int64]:
    """Where the maps of a batch [b, h, w, c] lie, in order. Raises TypeError unless each fits."""
    b, height, width, _ = picture
    addresses = [
        writable(one, b, height // side, width // side, channels).data_ptr()
        for one, (side, channels) in zip(maps, program.maps, strict=True)
    ]
    return (c_int64 * len(addresses))(*addresses)
