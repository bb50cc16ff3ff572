"""A batch at its first noise level: what was asked for, as the tensors that a sampler carries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nitrogen.model.budget import Ledger
from nitrogen.model.cache import empty_cache
from nitrogen.model.config import ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.errors import ShapeError
from nitrogen.model.observation import new_past
from nitrogen.model.request import Live, Request
from nitrogen.model.solvers import new_history


@dataclass(frozen=True)
class Order:
    """A request as a sampler takes it: what it may cost, the noise levels of its steps, [n + 1]
    float32 and 0 at the end, and the step from which on a relay's second network answers."""

    request: Request
    ledger: Ledger
    sigmas: Tensor
    late_from: int


def first_batch(orders: Sequence[Order], arch: ArchConfig, cost: CostModel, first_id: int) -> Live:
    """On the CPU. Raises BudgetError for a budget below the cheapest plan."""
    num, shape = len(orders), (cost.height, cost.width, arch.image_channels)
    requests, ledgers = [o.request for o in orders], [o.ledger for o in orders]
    ceilings = [ledger.ceiling(r.budget) for r, ledger in zip(requests, ledgers, strict=True)]
    sigmas = pad_sigmas([o.sigmas for o in orders])
    x = torch.stack([noise(o.request.seed, shape) * o.sigmas[0] for o in orders])
    guided = any(r.guidance_scale != 1 for r in requests)
    return Live(
        ids=torch.arange(first_id, first_id + num),
        x=x,
        denoised=torch.zeros_like(x),
        sigmas=sigmas,
        step=torch.zeros(num, dtype=torch.int64),
        num_steps=torch.tensor([r.num_inference_steps for r in requests]),
        labels=torch.tensor([r.label for r in requests]),
        seeds=torch.tensor([r.seed for r in requests]),
        guidance=torch.tensor([r.guidance_scale for r in requests], dtype=torch.float32),
        branches=torch.tensor([ledger.branches for ledger in ledgers]),
        ceiling=doubles(ceilings),
        reserve=doubles(ledger.dense_flops for ledger in ledgers),
        dense_from=torch.tensor([ledger.num_steps - ledger.dense_steps for ledger in ledgers]),
        late_from=torch.tensor([o.late_from for o in orders]),
        full=doubles(ledger.full_flops for ledger in ledgers),
        spent=torch.zeros(num, dtype=torch.float64),
        fallbacks=torch.zeros(num, dtype=torch.int64),
        history=new_history(x),
        past=new_past(num, cost.grid),
        exited=torch.zeros(num, *cost.grid, dtype=torch.bool),
        cache=empty_cache(arch, num, cost.height, cost.width),
        cache_unlabelled=empty_cache(arch, num, cost.height, cost.width) if guided else None,
    )


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Unit noise of one sample; depends on its seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def doubles(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def pad_sigmas(sigmas: list[Tensor]) -> Tensor:
    """[b, longest] noise levels, zeros behind the end."""
    if not sigmas:
        raise ShapeError("requests must hold at least one request, got none.")
    return torch.nn.utils.rnn.pad_sequence(sigmas, batch_first=True)
