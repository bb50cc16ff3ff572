"""The plan of a step as one call of C++, and what else of planning.h its callers hand over."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.kernels.cpu.fused import Layer, pack
from nitrogen.kernels.cpu.library import load
from nitrogen.kernels.cpu.packing import PACKED
from nitrogen.kernels.cpu.tensors import dense

INT, REAL = ctypes.c_int64, ctypes.c_double
PICTURES = ("x_t", "denoised")  # [b, h, w, c]
PER_SAMPLE = {  # [b]
    "step": torch.int64, "num_steps": torch.int64, "labels": torch.int64, "branches": torch.int64,
    "dense_from": torch.int64, "late_from": torch.int64,
    "ceiling": torch.float64, "spent": torch.float64, "reserve": torch.float64,
}  # fmt: skip
PER_REGION = {  # [b, rh, rw]
    "change": torch.float32, "age": torch.float32, "log_residual": torch.float32,
    "quarters": torch.int64, "calm": torch.int64, "exited": torch.bool,
}  # fmt: skip
LAYERS = (
    "classes", "w_enter", "b_enter", "w_middle", "b_middle", "w_residual", "b_residual",
    "w_widths", "b_widths",
)  # fmt: skip
COSTS = ("region_flops", "bounded_flops", "lowest", "schedule")
MADE = ("pair", "widths", "exits", "calm_now", "residual_now", "flops", "found")
SIZES = (
    "samples", "height", "width", "ch", "region_rows", "region_columns", "longest", "heun",
    "num_bins", "num_scheduled", "equal_shares", "num_classes", "class_channels", "hidden",
    "patience", "max_age", "threads",
)  # fmt: skip
NUMBERS = (
    "fixed_flops", "full_flops", "predictor_flops", "slack", "price", "exit_threshold",
    "sigma_data", "low", "high",
)  # fmt: skip
BROKEN, EVERYONE_BUSY, SOMEONE_EXITED = range(3)  # of `found`


class Planning(ctypes.Structure):
    """`struct Planning` of planning.h: addresses, then whole numbers, then real ones."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (*PICTURES, "sigmas", *PER_SAMPLE, *PER_REGION)),
        *((name, ctypes.c_void_p) for name in (*LAYERS, *COSTS, *MADE)),
        *((name, INT) for name in SIZES),
        *((name, REAL) for name in NUMBERS),
    ]


@dataclass(frozen=True)
class Rules:
    """What decides, and what it costs.

    region_flops: [5] float64 of a region by width; bounded_flops: [bins, 5] float64 of it by noise
    level, lowest: [bins - 1] float32 sigma from which upwards a bin holds, or None without bounds;
    slack: share of full compute a step that the predictor is not told of;
    schedule: [n] int64 quarters of every step, None for buying by predicted gain; equal_shares: of
    a schedule, whether a step may not spend what later ones leave; price: of what is bought, gain
    per FLOP or None for equal shares; exit_threshold, patience, max_age: of exits, in steps.
    """

    region_flops: Tensor
    bounded_flops: Tensor | None
    lowest: Tensor | None
    fixed_flops: float
    full_flops: float
    predictor_flops: float
    sigma_data: float
    heun: bool
    slack: float = 0.0
    schedule: Tensor | None = None
    equal_shares: bool = False
    price: float | None = None
    exit_threshold: float = 0.0
    patience: int = 1
    max_age: int | None = None


@dataclass(frozen=True)
class Network:
    """The predictor: classes [n, c], layers enter, middle, residual, widths, and its bounds."""

    classes: Tensor
    layers: tuple[Layer, Layer, Layer, Layer]
    bounds: tuple[float, float]


@dataclass(frozen=True)
class Planned:
    """sigma, sigma_next: [b]; widths, calm: [b, rh, rw] int64, exits: bool, log_residual: float32;
    flops: [b] float64 of the step, prediction included; everyone_busy: every sample computes
    something; someone_exited: some sample has only regions that exited."""

    sigma: Tensor
    sigma_next: Tensor
    widths: Tensor
    exits: Tensor
    calm: Tensor
    log_residual: Tensor
    flops: Tensor
    everyone_busy: bool
    someone_exited: bool


@dataclass(frozen=True)
class Prepared:
    """A batch as planning.cpp reads it: the tensors by name, those it writes, and their addresses,
    which hold as long as this does."""

    of: Mapping[str, Tensor]
    made: Mapping[str, Tensor]
    planning: Planning

    def found(self) -> list[int]:
        return self.made["found"].tolist()


def plan_step(batch: Mapping[str, Tensor], rules: Rules, network: Network | None) -> Planned | None:
    """The plan of the coming step of every sample; None where a prediction is not finite.

    batch: as `prepared` wants it. Raises IndexError for a label out of range, TypeError for another
    shape or dtype.
    """
    ready = prepared(batch, rules, network)
    planning, made = ready.planning, ready.made
    load()[0].plan_step(ctypes.addressof(planning), ctypes.sizeof(planning))
    found = ready.found()
    if found[BROKEN]:
        return None
    residual = ready.of["log_residual"] if network is None else made["residual_now"]
    calm = made["calm_now"] if rules.schedule is None else ready.of["calm"]
    sigma, sigma_next = made["pair"].unbind()
    return Planned(
        sigma, sigma_next, made["widths"], made["exits"], calm, residual, made["flops"],
        bool(found[EVERYONE_BUSY]), bool(found[SOMEONE_EXITED]),
    )  # fmt: skip


def prepared(batch: Mapping[str, Tensor], rules: Rules, network: Network | None) -> Prepared:
    """batch: by the names of PICTURES, PER_SAMPLE, PER_REGION, and `sigmas` [b, n], zeros behind
    the end. Raises TypeError for another shape or dtype."""
    x_t, sigmas, quarters = batch["x_t"], batch["sigmas"], batch["quarters"]
    b, height, width, ch = x_t.shape
    of = {name: dense(batch[name]) for name in PICTURES}
    of["sigmas"] = dense(sigmas)
    of |= {name: dense(batch[name], dtype) for name, dtype in PER_SAMPLE.items()}
    of |= {name: dense(batch[name], dtype) for name, dtype in PER_REGION.items()}
    check(of, b, (b, height, width, ch), quarters.shape)
    sizes = dict(
        zip(SIZES, (b, height, width, ch, *quarters.shape[1:], sigmas.shape[1], rules.heun),
            strict=False)
    )  # fmt: skip
    assert rules.schedule is not None or network is not None, "a gain needs a predictor"
    of["region_flops"] = dense(rules.region_flops, torch.float64)
    if rules.bounded_flops is not None and rules.lowest is not None:
        of["bounded_flops"] = dense(rules.bounded_flops, torch.float64)
        of["lowest"] = dense(rules.lowest)
        sizes["num_bins"] = len(rules.bounded_flops)
    if rules.schedule is not None:
        of["schedule"] = dense(rules.schedule, torch.int64)
        sizes |= {"num_scheduled": len(rules.schedule), "equal_shares": rules.equal_shares}
    low, high = 0.0, 0.0
    if network is not None:
        weights = (PACKED.get(network.classes, "as it is"), *pack(*network.layers))
        of |= {name: one for name, one in zip(LAYERS, weights, strict=True) if one is not None}
        sizes["num_classes"], sizes["class_channels"] = network.classes.shape
        sizes["hidden"], (low, high) = network.layers[0][0].shape[0], network.bounds
    made = {
        "pair": sigmas.new_empty(2, b), "widths": torch.empty_like(of["quarters"]),
        "exits": torch.empty_like(of["exited"]), "calm_now": torch.empty_like(of["calm"]),
        "residual_now": torch.empty_like(of["log_residual"]),
        "flops": torch.empty_like(of["spent"]), "found": torch.zeros(3, dtype=torch.int64),
    }  # fmt: skip
    planning = Planning(
        **{name: one.data_ptr() for name, one in (of | made).items()}, **sizes,
        patience=rules.patience, max_age=-1 if rules.max_age is None else rules.max_age,
        threads=torch.get_num_threads(), fixed_flops=rules.fixed_flops,
        full_flops=rules.full_flops, predictor_flops=rules.predictor_flops, slack=rules.slack,
        price=float("nan") if rules.price is None else rules.price,
        exit_threshold=rules.exit_threshold, sigma_data=rules.sigma_data, low=low, high=high,
    )  # fmt: skip
    return Prepared(of, made, planning)


def check(of: Mapping[str, Tensor], b: int, picture: tuple[int, ...], grid: torch.Size) -> None:
    """Raises TypeError where C++ would read past an end."""
    wrong = [name for name in PICTURES if of[name].shape != picture]
    wrong += [name for name in PER_SAMPLE if of[name].shape != (b,)]
    wrong += [name for name in PER_REGION if of[name].shape != grid]
    wrong += ["sigmas"] if of["sigmas"].ndim != 2 or len(of["sigmas"]) != b else []
    if wrong or grid[0] != b or picture[1] % grid[1] or picture[2] % grid[2]:
        raise TypeError(
            f"a batch must be of {b} samples of {list(picture[1:])} with regions that divide them, "
            f"got another shape for {', '.join(wrong) or 'its regions'}. Take it from one sampler."
        )
