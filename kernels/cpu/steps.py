"""Several whole steps of a batch as one call of C++: plan, network, what is known after, again."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.cpu.library import load
from nitrogen.kernels.cpu.network import Program, cache_addresses
from nitrogen.kernels.cpu.planning import (
    INT,
    PER_REGION,
    PER_SAMPLE,
    SOMEONE_EXITED,
    Network,
    Rules,
    prepared,
)
from nitrogen.kernels.cpu.tensors import dense

HISTORY = ("x", "denoised", "older", "x_before", "sigma_last", "older_sigma")
REGIONS = ("change", "age", "log_residual", "quarters", "calm", "exited")
WRITTEN = (*HISTORY, "step", "spent", *REGIONS)  # what a step changes


class Steps(ctypes.Structure):
    """`struct Steps` of steps.cpp: addresses, then whole numbers."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (*WRITTEN, "program", "cache", "unlabelled")),
        *((name, ctypes.c_void_p) for name in ("guidance", "map_sizes", "caps")),
        ("trace", ctypes.c_void_p), ("done", ctypes.c_void_p),
        *((name, INT) for name in ("num_maps", "levels", "most", "multistep", "no_label")),
    ]  # fmt: skip


@dataclass(frozen=True)
class Unet:
    """The network that steps. maps: of its cache; unlabelled: of that of the branch without label,
    None if nobody is guided; caps: [bins, levels] int64, widest quarters by noise, None without
    bounds; no_label: the class that stands for none."""

    program: Program
    weights: Sequence[Tensor | None]
    maps: Sequence[Tensor]
    unlabelled: Sequence[Tensor] | None
    caps: Tensor | None
    no_label: int


@dataclass(frozen=True)
class Walked:
    """after: what the steps changed, by the names of WRITTEN; widths: [steps, b, rh, rw] int64 of
    every step; someone_exited: whether some sample has only regions that exited."""

    after: Mapping[str, Tensor]
    widths: Tensor
    someone_exited: bool


def run_steps(
    batch: Mapping[str, Tensor],
    rules: Rules,
    predictor: Network | None,
    unet: Unet,
    *,
    most: int,
    multistep: bool,
) -> Walked:
    """At most `most` steps; fewer after one by which some sample's regions have all exited, fewer
    or none where a prediction is not finite.

    batch: as `planning.prepared` wants it, with the solver's `sigma_last` and `guidance`, [b] both;
    it is left as it is. The maps of `unet` are written in place. multistep: DPM-Solver++(2M), else
    Euler. Raises TypeError for another shape or dtype, IndexError for a label out of range.
    """
    after = started(batch)
    ready = prepared({**batch, **after, "x_t": after["x"]}, rules, predictor)
    guidance = dense(batch["guidance"])
    caps = None if unet.caps is None else dense(unet.caps, torch.int64)
    check(after, guidance, caps, ready.planning.num_bins, unet.program)
    cache = cache_addresses(unet.program, unet.maps, after["x"].shape)
    bare = None
    if unet.unlabelled is not None:
        bare = cache_addresses(unet.program, unet.unlabelled, after["x"].shape)
    listed = unet.program.listed(unet.weights)
    sizes = torch.tensor([one[0].numel() for one in unet.maps])
    trace = after["quarters"].new_empty(most, *after["quarters"].shape)
    done = torch.zeros(1, dtype=torch.int64)
    steps = Steps(
        **{name: one.data_ptr() for name, one in after.items()}, program=listed[1].data_ptr(),
        cache=ctypes.addressof(cache), unlabelled=None if bare is None else ctypes.addressof(bare),
        guidance=guidance.data_ptr(), no_label=unet.no_label, map_sizes=sizes.data_ptr(),
        caps=None if caps is None else caps.data_ptr(), trace=trace.data_ptr(),
        done=done.data_ptr(), num_maps=len(sizes), levels=unet.program.numbers[0], most=most,
        multistep=multistep,
    )  # fmt: skip
    planning = ready.planning
    load()[0].run_steps(
        ctypes.addressof(planning), ctypes.sizeof(planning), ctypes.addressof(steps),
        ctypes.sizeof(steps),
    )  # fmt: skip
    return Walked(after, trace[: int(done)], bool(ready.found()[SOMEONE_EXITED]))


def started(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the steps write, by the names of WRITTEN: copies, and room for what only they know."""
    kinds = {"x_t": torch.float32, "denoised": torch.float32, "sigma_last": torch.float32}
    kinds |= {k: v for k, v in (PER_SAMPLE | PER_REGION).items() if k in WRITTEN}
    copied = {
        name: dense(batch[name], dtype).clone(memory_format=torch.contiguous_format)
        for name, dtype in kinds.items()
    }
    copied["x"] = copied.pop("x_t")
    made = {"older": "denoised", "x_before": "x", "older_sigma": "sigma_last"}
    return copied | {name: torch.empty_like(copied[of]) for name, of in made.items()}


def check(
    after: Mapping[str, Tensor], guidance: Tensor, caps: Tensor | None, num_bins: int,
    program: Program,
) -> None:  # fmt: skip
    """Raises TypeError where C++ would read or write past an end that `prepared` does not see."""
    b, ch = len(after["x"]), after["x"].shape[3]
    levels, _, channels = program.numbers[:3]
    if not b or not guidance.shape == after["sigma_last"].shape == (b,) or ch != channels:
        raise TypeError(
            f"a batch must be of at least one sample of {channels} channels, with one entry of "
            f"guidance and sigma_last each, got {list(after['x'].shape)}, {list(guidance.shape)} "
            f"and {list(after['sigma_last'].shape)}. Take it from one sampler."
        )
    bounded = None if caps is None else tuple(caps.shape)
    if bounded != ((num_bins, levels) if num_bins else None):
        raise TypeError(
            f"caps must be {[num_bins, levels] if num_bins else None}, one a noise level of the "
            f"rules and level of the network, got {bounded}. Take both from one architecture."
        )
