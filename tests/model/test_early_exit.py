"""Early exit: patience, age, a dense last step, and batches of mixed difficulty."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nitrogen.model.errors import BudgetError
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget, Full, Random, Static, Threshold
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler

EASY, HARD = 0, 1
STEPS = 12


class Foretold(torch.nn.Module):
    """A predictor that says what it is told: per label, the residual of every call of a sample.

    residuals: label -> values by step, the last one for all later steps; regions alike.
    """

    def __init__(self, residuals):
        super().__init__()
        self.residuals, self.calls = residuals, 0

    def forward(self, features, labels):
        step, self.calls = self.calls, self.calls + 1
        rows = [self.residuals[int(label)] for label in labels]
        held = torch.tensor([row[min(step, len(row) - 1)] for row in rows])
        shares = torch.tensor([1.0, 0.5, 0.25, 0.12, 0.06])
        errors = held[:, None] * shares
        return errors.log()[:, None, None].expand(-1, *features.shape[1:3], -1).contiguous()


def run(denoiser, policy, residuals, requests):
    return Sampler(denoiser, policy, predictor=Foretold(residuals)).run(requests)


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", [Threshold, Budget])
def test_a_region_exits_after_that_many_confident_steps(denoiser, patience, kind):
    """Confident from step 5 on, which is behind the warm-up of 3."""
    residuals = {EASY: [1.0] * 5 + [1e-9]}
    done = run(denoiser, kind(1e-5, patience=patience), residuals, [Request(EASY, 1, STEPS)])[0]
    assert done.num_steps == 5 + patience
    assert bool((done.widths[: 5 + patience - 1] > 0).all())
    assert bool((done.widths[-1] == 0).all())


class HalfForetold(Foretold):
    """The same of the left half of a picture; the right half gains nothing from compute at the
    steps `pause`, and much at the others."""

    def __init__(self, residuals, pause):
        super().__init__(residuals)
        self.pause = pause

    def forward(self, features, labels):
        shares = [1.0] * 5 if self.calls in self.pause else [1.0, 0.5, 0.25, 0.12, 0.06]
        errors = super().forward(features, labels)
        errors[:, :, errors.shape[2] // 2 :] = torch.tensor(shares).log()
        return errors


def test_what_exits_leaves_its_compute_to_later_steps(denoiser):
    """Where nothing more is wanted from step 4 to 7 because the left half has exited, the steps
    behind spend more than any step of a picture without exits."""
    share, spent = 0.5, {}
    for exits, residuals in ((False, [1.0]), (True, [1.0] * 4 + [1e-9])):
        foretold = HalfForetold({EASY: residuals}, range(4, 8))
        sampler = Sampler(denoiser, Budget(1e-5), predictor=foretold)
        done = sampler.run([Request(EASY, 1, STEPS, budget=share)])[0]
        assert done.flops <= share * done.full_flops
        left = done.widths[8:, :, : done.widths.shape[2] // 2]
        assert bool((left == 0).all()) == exits
        by_step = sampler.cost.region_flops[done.widths].flatten(1).double().mean(dim=1)
        spent[exits] = by_step / float(sampler.cost.region_flops[-1])
    assert torch.equal(spent[True][:4], spent[False][:4])
    assert bool((spent[True][8:] > 1.3 * spent[False].max()).all())


def test_a_doubt_starts_the_count_again(denoiser):
    residuals = {EASY: [1.0] * 4 + [1e-9, 1e-9, 1.0, 1e-9]}
    for patience, steps in ((2, 6), (3, 10)):
        made = run(denoiser, Threshold(1e-5, patience), residuals, [Request(EASY, 1, STEPS)])[0]
        assert made.num_steps == steps


def test_no_exit_in_the_warm_up(denoiser):
    done = run(denoiser, Threshold(1e-5, patience=1), {EASY: [1e-9]}, [Request(EASY, 1, STEPS)])[0]
    assert done.num_steps == 1 + STEPS // 4


def longest_hold(widths):
    """The most steps in a row that any region was held."""
    age, most = torch.zeros(widths.shape[1:]), 0
    for step in widths:
        age = torch.where(step == 0, age + 1, 0)
        most = max(most, int(age.max()))
    return most


@pytest.mark.parametrize("price", [None, 1e-3], ids=["equal shares", "priced"])
@pytest.mark.parametrize("max_age", [1, 2, 4])
def test_a_held_region_is_computed_again_in_time(denoiser, predictor, price, max_age):
    """At a price that buys nothing, everything would be held to the end."""
    free = Sampler(denoiser, Budget(0.0, price), predictor=predictor)
    bound = Sampler(denoiser, Budget(0.0, price, max_age=max_age), predictor=predictor)
    requests = [Request(0, 1, STEPS, 1.0, 0.7), Request(1, 2, STEPS)]
    if price:
        assert longest_hold(free.run(requests)[1].widths) == STEPS - 1
    for done in bound.run(requests):
        assert longest_hold(done.widths) <= max_age
    assert done.flops <= done.full_flops


def test_age_gives_way_to_the_ceiling_and_not_to_exits(denoiser, predictor):
    sampler = Sampler(denoiser, Budget(0.0, max_age=1), predictor=predictor)
    tight = sampler.run([Request(0, 1, STEPS, 1.0, 0.1)])[0]
    assert tight.flops <= 0.1 * tight.full_flops
    residuals = {EASY: [1.0] * 3 + [1e-9]}
    done = run(denoiser, Budget(1e-5, max_age=1), residuals, [Request(EASY, 1, STEPS)])[0]
    assert done.num_steps == 5, "what has exited is never stale"


POLICIES = {
    "full": Full(), "static": Static(), "random": Random(), "threshold": Threshold(0.05),
    "budget": Budget(0.05), "priced": Budget(0.05, 1e-9, patience=3, max_age=2),
}  # fmt: skip


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
@settings(max_examples=12)
@given(
    budget=st.floats(0.15, 1.1),
    steps=st.integers(1, 7),
    guidance=st.sampled_from([1.0, 2.0]),
    solver=st.sampled_from(["dpmpp_2m", "heun", "unipc", "euler"]),
    seed=st.integers(0, 2**40),
)
def test_a_dense_last_step_is_within_the_ceiling(
    denoiser, predictor, policy, budget, steps, guidance, solver, seed
):
    sampler = Sampler(denoiser, policy, predictor=predictor, solver_name=solver)
    request = Request(seed % 3, seed, steps, guidance, budget, dense_last=True)
    ledger = sampler.ledger(request)
    if budget * ledger.full_flops < ledger.minimum_flops:
        with pytest.raises(BudgetError, match="at least"):
            sampler.start([request])
        return
    done = sampler.run([request])[0]
    assert done.flops <= budget * done.full_flops
    assert done.num_steps == steps
    assert bool((done.widths[-1] == 4).all())
    assert bool((done.widths[0] > 0).all())


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
def test_the_least_budget_of_a_dense_last_step_is_enough(denoiser, predictor, solver):
    sampler = Sampler(denoiser, Budget(), predictor=predictor, solver_name=solver)
    request = Request(0, 0, 5, dense_last=True)
    ledger = sampler.ledger(request)
    assert ledger.minimum_flops > sampler.ledger(replace(request, dense_last=False)).minimum_flops
    least = ledger.minimum_flops / ledger.full_flops
    done = sampler.run([replace(request, budget=least + 1e-6)])[0]
    assert bool((done.widths[1:-1] == 0).all())
    assert bool((done.widths[-1] == 4).all())


def test_exited_regions_are_computed_at_a_dense_last_step(denoiser):
    residuals = {EASY: [1.0] * 3 + [1e-9]}
    request = Request(EASY, 1, STEPS)
    gone = run(denoiser, Threshold(1e-5), residuals, [request])[0]
    back = run(denoiser, Threshold(1e-5), residuals, [replace(request, dense_last=True)])[0]
    assert (gone.num_steps, back.num_steps) == (5, STEPS)
    assert bool((back.widths[5:-1] == 0).all())
    assert not torch.equal(gone.x_0, back.x_0)


def test_a_dense_last_step_alone_equals_in_a_mixed_batch(denoiser, predictor):
    sampler = Sampler(denoiser, Budget(0.05), predictor=predictor)
    requests = [
        Request(0, 1, 5, 1.0, 0.6, dense_last=True), Request(1, 2, 6, 2.0, 0.6),
        Request(2, 3, 4, dense_last=True),
    ]  # fmt: skip
    for request, together in zip(requests, sampler.run(requests), strict=True):
        assert torch.equal(sampler.run([request])[0].x_0, together.x_0)


def test_a_pipeline_takes_a_dense_last_step(denoiser, predictor):
    pipeline = Pipeline(denoiser, ["a", "b", "c"], predictor)
    made = pipeline.generate(
        [0], [1], num_inference_steps=4, policy="budget", budget=0.6, dense_last=True
    )
    assert bool((made.stats[0].heatmap[-1] == 1).all())
    assert made.stats[0].gflops <= 0.6 * made.stats[0].gflops_full


def test_easy_samples_leave_the_batch_and_cost_no_more(denoiser, monkeypatch):
    """A batch of mixed difficulty: the network sees only who is left, and says the same of them."""
    residuals = {EASY: [1.0] * 3 + [1e-9], HARD: [1.0], 2: [1.0] * 7 + [1e-9]}
    requests = [Request(label, label, STEPS) for label in (HARD, EASY, 2, HARD)]
    sizes, forward = [], type(denoiser).forward

    def watched(self, x_t, *args, **kwargs):
        sizes.append(len(x_t))
        return forward(self, x_t, *args, **kwargs)

    monkeypatch.setattr(type(denoiser), "forward", watched)
    done = run(denoiser, Threshold(1e-5), residuals, requests)
    assert [one.num_steps for one in done] == [STEPS, 5, 9, STEPS]
    # Exits are decided before the step: the step of an exit runs without the sample.
    assert sizes == [4] * 4 + [3] * 4 + [2] * 4
    for request, together in zip(requests, done, strict=True):
        alone = run(denoiser, Threshold(1e-5), residuals, [request])[0]
        assert torch.equal(alone.x_0, together.x_0)
        assert alone.flops == together.flops
