"""Several whole steps of a batch as one call of C++: plan, network, what is known after, again."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.cpu.library import load
from nitrogen.kernels.cpu.network import Program, cache_addresses
from nitrogen.kernels.cpu.planning import INT, Network, Rules, prepared
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
    None if nobody is guided; caps: [bins, levels] int64, widest quarters by noise, or None;
    no_label: the class that stands for none."""

    program: Program
    weights: Sequence[Tensor | None]
    maps: Sequence[Tensor]
    unlabelled: Sequence[Tensor] | None
    caps: Tensor | None
    no_label: int


@dataclass(frozen=True)
class Walked:
    """after: what the steps changed, by the names of WRITTEN; widths: [steps, b, rh, rw] int64 of
    every step; all_exited: whether some sample has only regions that exited."""

    after: Mapping[str, Tensor]
    widths: Tensor
    all_exited: bool


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
    copied = {name: batch[name].clone() for name in ("step", "spent", *REGIONS)}
    copied |= {"x": batch["x_t"].clone(), "denoised": batch["denoised"].clone()}
    copied["sigma_last"] = batch["sigma_last"].clone()
    copied |= {
        "older": torch.empty_like(copied["denoised"]), "x_before": torch.empty_like(copied["x"]),
        "older_sigma": torch.empty_like(copied["sigma_last"]),
    }  # fmt: skip
    after = {name: dense(copied[name], copied[name].dtype) for name in WRITTEN}
    ready = prepared({**batch, **after, "x_t": after["x"]}, rules, predictor)
    cache = cache_addresses(unet.program, unet.maps, after["x"].shape)
    bare = None
    if unet.unlabelled is not None:
        bare = cache_addresses(unet.program, unet.unlabelled, after["x"].shape)
    guidance = dense(batch["guidance"])
    if not len(guidance) == len(after["sigma_last"]) == len(after["x"]):
        raise TypeError("guidance and sigma_last must have one entry a sample. Take one batch's.")
    listed = unet.program.listed(unet.weights)
    sizes = torch.tensor([one[0].numel() for one in unet.maps])
    caps = None if unet.caps is None else dense(unet.caps, torch.int64)
    trace = after["quarters"].new_empty(most, *after["quarters"].shape)
    done = torch.zeros(2, dtype=torch.int64)
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
    count, exited = done.tolist()
    return Walked(after, trace[:count], bool(exited))
