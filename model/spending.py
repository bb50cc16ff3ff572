"""What one step may spend: its share of the budget that is left, and plans that stay within it."""

import torch
from torch import Tensor

from nitrogen.kernels.dispatch import holds
from nitrogen.model.budget import FORCED, allocate
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.observation import Observation, Past
from nitrogen.model.predictor import gains
from nitrogen.model.regions import HELD


def step_share(observation: Observation) -> Tensor:
    """[b] float64 FLOPs that the regions of one forward may cost: an equal share of what is left.

    At the first step at least everything at the narrowest width, which the ledger has set aside.
    """
    share = observation.budget_left / observation.forwards_left
    return room_for_regions(share, observation.cost, observation.step == 0)


def room_for_regions(forward_flops: Tensor, cost: CostModel, first: Tensor) -> Tensor:
    """[b] FLOPs that the regions of a forward may cost which may cost `forward_flops`, [b] float64;
    where it is the `first`, [b] bool, at least everything at the narrowest width."""
    room = forward_flops - cost.fixed_flops
    narrowest = cost.num_regions * cost.block_rows(1)
    return torch.where(first, room.clamp_min(narrowest), room).clamp_min(0)


def open_room(observation: Observation) -> Tensor:
    """[b] float64 FLOPs that the regions of one forward may cost so that every later step can
    still run everything at the narrowest width; at least the equal share."""
    cost, now = observation.cost, observation.branches
    narrow = cost.fixed_flops + cost.num_regions * cost.block_rows(1)
    later = (observation.forwards_left - now) * narrow
    return torch.maximum(
        step_share(observation), (observation.budget_left - later) / now - cost.fixed_flops
    )


def scheduled(observation: Observation, widths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Widths [b, rh, rw] of the coming step, and [b] FLOPs that its regions may cost so that the
    later steps of the schedule fit; at least the equal share.

    widths: of every step; a sample of another number of steps goes through them at its own pace.
    """
    device, count = observation.step.device, len(widths)
    table = torch.tensor(widths).to(device, non_blocking=True)
    cost, now = observation.cost, observation.branches
    regions = cost.num_regions * cost.region_flops.to(device)[table]
    prices = torch.where(table > HELD, cost.fixed_flops + regions, 0.0)
    # Every step of the longest sample, [b, longest]; those that are set aside are not planned here.
    steps = torch.arange(observation.longest, device=device)
    places = ((2 * steps + 1) * count // (2 * observation.num_steps[:, None])).clamp_max(count - 1)
    end = torch.minimum(observation.dense_from, observation.num_steps)
    behind = (steps > observation.step[:, None]) & (steps < end[:, None])
    later = now * torch.where(behind, prices[places], 0.0).sum(dim=1)
    # Heun's last step has half the forwards.
    missing = now * behind.sum(dim=1) - (observation.forwards_left - now)
    last = prices[places.gather(1, (end - 1).clamp_min(0)[:, None])[:, 0]]
    later = later - torch.where(behind.any(dim=1), missing * last, 0.0)
    left = (observation.budget_left - later) / now - cost.fixed_flops
    place = places.gather(1, observation.step[:, None])[:, 0]
    quarters = table[place][:, None, None].expand(observation.past.quarters.shape)
    return quarters, torch.maximum(step_share(observation), left)


def spend(
    observation: Observation,
    gain: Tensor,
    exits: Tensor,
    room: Tensor | None = None,
    price: float = 0.0,
) -> Tensor:
    """Widths [b, rh, rw] that cost at most `room`, by default an equal share of what is left."""
    caps = torch.where(exits | observation.exited, HELD, NUM_WIDTHS)
    room = step_share(observation) if room is None else room
    return widths_for(gain, observation.past, caps, observation.cost, room, price)


def widths_for(
    gain: Tensor, past: Past, caps: Tensor, cost: CostModel, room: Tensor, price: float = 0.0
) -> Tensor:
    """Widths [b, rh, rw] of the greatest gain whose regions cost at most `room`; what the `budget`
    policy runs, in sampling as in the roll-outs of training.

    gain: [b, rh, rw, 5] over holding, caps: [b, rh, rw] the widest allowed, room: [b] float64
    FLOPs, price: gain per FLOP below which nothing is bought. A region that was never computed is
    not held.
    """
    b, rh, rw, options = gain.shape
    ranked = require_first(past, gain).reshape(b, rh * rw, options)
    flat = caps.reshape(b, rh * rw)
    return allocate(ranked, cost.region_flops, room, flat, price).view(b, rh, rw)


def require_first(past: Past, gain: Tensor) -> Tensor:
    """A region that was never computed cannot be held."""
    return forced(gain, past.quarters == HELD)


def forced(gain: Tensor, regions: Tensor) -> Tensor:
    """gain [b, rh, rw, 5], with computing put before everything else at `regions` [b, rh, rw]."""
    bonus = torch.zeros_like(gain)
    bonus[..., 1:] = FORCED
    return torch.where(regions[..., None], gain + bonus, gain)


def within_room(widths: Tensor, room: Tensor | None, observation: Observation) -> Tensor:
    """`widths` [b, rh, rw] where they fit their room, else their best part that does: a budget is
    spent over all steps, not on the first ones.

    room: [b] FLOPs that a policy claims for the regions of one forward, by default an equal share
    of what is left. Whatever it claims, what is left is not passed. Exited regions are held.
    """
    widths = torch.where(observation.exited, HELD, widths)
    share = step_share(observation)
    if room is None:
        room = share
    else:
        left = observation.budget_left / observation.branches - observation.cost.fixed_flops
        room = torch.minimum(room, torch.maximum(share, left))
    region_flops = observation.cost.region_flops
    over = region_flops.to(widths.device)[widths].flatten(1).sum(dim=1) > room
    if holds(over.any()) is False:
        return widths
    gain = known_gain(observation)
    fitted = widths_for(gain, observation.past, widths, observation.cost, room)
    return torch.where(over[:, None, None], fitted, widths)


def known_gain(observation: Observation) -> Tensor:
    """[b, rh, rw, 5] the predicted gain, or the root of the width where nothing is predicted."""
    if observation.log_errors is not None:
        return gains(observation.log_errors, observation.sigma, observation.sigma_next)
    return (
        torch.arange(NUM_WIDTHS + 1.0, device=observation.exited.device, dtype=torch.float64)
        .sqrt()
        .expand(*observation.exited.shape, -1)
    )
