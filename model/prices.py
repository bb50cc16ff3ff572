"""The price of compute at which the `budget` policy spends a budget: measured once, kept with it.

Equal shares for every step are wasteful: what is computed at high noise is corrected later, what
is computed at the end changes little. At one price per FLOP for all steps and regions, each buys
what gains more than that, which is one allocation over the whole run. Which price spends which
budget is a property of the model; the ceiling holds whatever the table says.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.policies import Budget
from nitrogen.model.predictor import Predictor
from nitrogen.model.price_table import PriceTable
from nitrogen.model.relay import Relay
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

STEPS = (3, 4, 5, 6, 8, 12, 32)
BUDGETS = (0.9, 0.75, 0.6, 0.45, 0.3, 0.2)  # falling
# What the mean picture is to spend of its budget where nothing is cut.
SPENT, AIM = (0.98, 1.02), 1.0
LEAST_GAIN, MOST_GAIN = 1e-7, 0.1  # of a full region
# Where the search begins and by how much it moves, in decades of the gain: a tenfold price about
# halves what is spent (shipped student: 0.85, 0.58, 0.31 of full compute, half a decade each).
FIRST_GAIN, SHORTEST, NEAR, MOST_CALLS = 1e-3, 0.1, 0.03, 12
NUM_PICTURES, FIRST_SEED = 8, 10_000
SLACK = 1.0  # above a budget, in shares of full compute: more than any picture can spend


def measure_prices(
    denoiser: Denoiser,
    predictor: Predictor,
    steps: Sequence[int] = STEPS,
    relay: Relay | None = None,
) -> PriceTable:
    """Samples a few pictures for each budget; classes in turn, seeds of their own, no guidance.

    The predictor sees what is left of that budget, as in a request: without it, gains are those of
    a budget of 1, and half of full compute spent 0.4. No ceiling cuts what is measured: at the
    lower price that makes up for the cuts, the first steps buy what the last ones then lack, and
    half of full compute gave pictures further off for all that more was spent.

    relay: the prices of its strides, by the share of their full compute that a budget leaves them;
    steps are then those that it has a leg for.
    """
    sampler = Sampler(denoiser, Budget(), predictor=predictor, relay=relay)
    # The requests have that much more than the budget that their predictor is told of.
    sampler.planner = replace(sampler.planner, slack=SLACK)
    full_region = float(sampler.cost.region_flops[-1])
    rows: dict[int, tuple[tuple[float, float], ...]] = {}
    guesses: dict[float, float] = {}
    for num in sorted(steps):
        guesses = measured_gains(sampler, num, full_region, guesses)
        priced = [(gain / full_region, budget) for budget, gain in guesses.items()]
        # A budget of all compute buys whatever gains at all.
        rows[num] = ((LEAST_GAIN / 10 / full_region, 1.0), *priced)
    return PriceTable(rows)


def priced(relay: Relay, denoiser: Denoiser, predictor: Predictor) -> Relay:
    """The relay with the prices of its strides, and those below it."""
    alone = replace(relay, cheaper=None)
    prices = measure_prices(denoiser, predictor, list(relay.table.rows), alone)
    cheaper = relay.cheaper and priced(relay.cheaper, denoiser, predictor)
    return replace(relay, prices=prices, cheaper=cheaper)


def measured_gains(
    sampler: Sampler, num_steps: int, full_region: float, guesses: dict[float, float]
) -> dict[float, float]:
    """budget -> gain of a full region below which it buys nothing, rising as budgets fall.

    guesses: the same for fewer steps, where there are any.
    """
    classes = sampler.denoiser.arch.num_classes
    pictures = [
        Request(label=i * classes // NUM_PICTURES, seed=FIRST_SEED + i,
                num_inference_steps=num_steps)
        for i in range(NUM_PICTURES)
    ]  # fmt: skip
    ledger = sampler.ledger(pictures[0])
    found: dict[float, float] = {}
    least = LEAST_GAIN
    leg = sampler.leg(pictures[0])
    for budget in BUDGETS:
        whole = leg.budget(budget, num_steps) if leg else budget
        if not ledger.affords(whole):
            break
        requests = [replace(request, budget=whole + SLACK) for request in pictures]
        spent = partial(spent_share, sampler, requests, budget, full_region)
        found[budget] = least = gain_that_spends(spent, first_guess(budget, found, guesses), least)
        least *= 1.001  # prices rise
    return found


def first_guess(budget: float, found: dict[float, float], guesses: dict[float, float]) -> float:
    """As much above the last budget's gain as it was for fewer steps, else as is usual."""
    if not found:
        return guesses.get(budget, FIRST_GAIN)
    last = min(found)
    if budget in guesses and last in guesses:
        return found[last] * guesses[budget] / guesses[last]
    return found[last] * (last / budget) ** 2


def spent_share(
    sampler: Sampler, requests: list[Request], budget: float, full_region: float, gain: float
) -> float:
    """What the mean picture spends of the budget at the price of this gain of a full region; of
    what a relay's late steps leave of both."""
    policy = Budget(price=gain / full_region)
    sampler.planner = replace(sampler.planner, policy=policy)
    done = [one for part in sampler.batches(requests) for one in sampler.run(part)]
    ledger = sampler.ledger(requests[0])
    late = ledger.dense_steps * ledger.dense_flops
    spent = sum((one.flops - late) / (one.full_flops - late) for one in done)
    return spent / len(done) / budget


def gain_that_spends(spent: Callable[[float], float], start: float, least: float) -> float:
    """The gain between `least` and MOST_GAIN at which `spent`, which falls, is within SPENT.

    Where it jumps over that: the highest one found that spends enough. Where nothing spends as much
    as that: the highest of those that spend as good as the most.
    """
    seen: dict[float, float] = {}  # decades -> share of the budget
    low, high = math.log10(least), math.log10(max(MOST_GAIN, least))
    at = min(max(math.log10(start), low), high)
    for _ in range(MOST_CALLS):
        seen[at] = share = spent(10.0**at)
        if SPENT[0] <= share <= SPENT[1]:
            return float(10.0**at)
        below = max((x for x in seen if seen[x] > SPENT[1]), default=None)
        above = min((x for x in seen if seen[x] < SPENT[0]), default=None)
        if below is not None and above is not None:
            if above - below < NEAR:
                break
            # The secant, kept off the ends: spending has plateaus.
            part = (seen[below] - AIM) / (seen[below] - seen[above])
            at = below + (above - below) * min(max(part, 0.3), 0.7)
            continue
        stride = max(SHORTEST, abs(share - AIM)) * 2 ** (len(seen) - 1)
        if at == (low if below is None else high):
            break
        at = max(at - stride, low) if below is None else min(at + stride, high)
    enough = min(SPENT[0], max(seen.values()) - 0.01)
    return float(10.0 ** max(x for x in seen if seen[x] >= enough))
