"""A strided student and the full model in turn: what it equals, what it costs, when it is."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nitrogen.model import sampler as samplers
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ModelError, WeightsError
from nitrogen.model.leg import MAX_RELAYS, Leg
from nitrogen.model.model_directory import LATE_WEIGHTS
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Budget, Full, Static, Threshold
from nitrogen.model.price_table import PriceTable
from nitrogen.model.prices import measure_prices, priced
from nitrogen.model.relay import Relay, RelayTable, late_arch, legs_of
from nitrogen.model.request import Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.solvers import dpmpp_2m, euler, new_history
from nitrogen.model.start import noise

LEG = Leg(2, 7.0, 0.15, 7.0)
TABLE = RelayTable({4: Leg(2, 3.0, 0.3, 3.0), 6: LEG})
POLICIES = {
    "full": Full(), "static": Static(widths=(1, 1, 4, 4, 4, 4, 4)), "budget": Budget(),
    "priced": Budget(1e-2, price=1e-9),
}  # fmt: skip


@pytest.fixture(scope="module")
def late(strided):
    torch.manual_seed(5)
    made = Denoiser(late_arch(strided.arch))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += torch.randn(parameter.shape) * 0.05
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def relayed(strided, predictor, late):
    def sampler(policy):
        return Sampler(strided, policy, predictor=predictor, relay=Relay(late, TABLE))

    return sampler


def test_it_is_strides_of_one_network_then_steps_of_the_other(relayed, strided, late):
    side = strided.arch.image_size
    x = noise(3, (side, side, 3))[None] * 80
    sigmas, label = LEG.sigmas(7).float(), torch.tensor([1])
    history = new_history(x)
    for i, (here, there) in enumerate(zip(sigmas[:-1, None], sigmas[1:, None], strict=True)):
        network, solver = (strided, euler) if i < 2 else (late, dpmpp_2m)
        denoised, _ = network(x, here, label, sigma_next=there)
        x, history = solver(x, denoised, here, there, history)
    done = relayed(Full()).run([Request(1, 3, 7)])[0]
    assert torch.allclose(done.x_0, x[0], atol=1e-4)
    assert torch.equal(done.sigmas, sigmas[:-1])


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
@settings(max_examples=10)
@given(
    budget=st.floats(0.3, 1.1), steps=st.integers(3, 8), guidance=st.sampled_from([1.0, 2.0]),
    seed=st.integers(0, 2**40), dense_last=st.booleans(),
)  # fmt: skip
def test_it_stays_within_the_ceiling_and_ends_whole(
    relayed, policy, budget, steps, guidance, seed, dense_last
):
    sampler = relayed(policy)
    request = Request(seed % 3, seed, steps, guidance, budget, dense_last)
    if not sampler.ledger(request).affords(budget):
        return
    done, leg = sampler.run([request])[0], sampler.leg(request)
    assert done.flops <= budget * done.full_flops
    if leg is not None:
        assert done.num_steps == steps
        assert bool((done.widths[leg.early :] == 4).all())


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
def test_alone_equals_in_a_batch_of_samples_elsewhere(relayed, policy):
    sampler = relayed(policy)
    requests = [
        Request(0, 1, 7, 1.0, 0.95), Request(1, 2, 5, 2.0), Request(2, 3, 3), Request(0, 4, 6),
        Request(1, 5, 6, 1.0, 0.5),
    ]  # fmt: skip
    for request, together in zip(requests, sampler.run(requests), strict=True):
        assert torch.equal(sampler.run([request])[0].x_0, together.x_0)


def test_a_sample_that_joins_later_changes_nobody(relayed):
    sampler = relayed(Budget())
    first, second = Request(0, 1, 7), Request(1, 2, 6, 1.0, 0.95)
    state = sampler.step(sampler.step(sampler.step(sampler.start([first]))))
    state = state.join(sampler.start([second], first_id=1))
    while state.live.num_samples:
        state = sampler.step(state)
    for request, done in zip((first, second), sorted(state.finished, key=lambda f: f.id),
                             strict=True):  # fmt: skip
        alone = sampler.run([request])[0]
        assert torch.equal(alone.x_0, done.x_0)
        assert alone.flops == done.flops


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
def test_by_parts_equals_one_call(relayed, policy, monkeypatch):
    request = Request(2, 9, 7, 1.0, 0.95)
    whole = relayed(policy).run([request])[0]
    monkeypatch.setattr(samplers, "whole_steps", lambda *_: None)
    parts = relayed(policy).run([request])[0]
    assert torch.equal(whole.x_0, parts.x_0)
    assert (whole.flops, whole.widths.tolist()) == (parts.flops, parts.widths.tolist())


def test_without_the_means_or_the_steps_the_student_does_it_alone(relayed, strided, predictor):
    alone = Sampler(strided, Budget(), predictor=predictor)
    for request in (Request(0, 1, 6, 1.0, 0.5), Request(0, 1, 3)):
        assert relayed(Budget()).leg(request) is None
        assert torch.equal(
            relayed(Budget()).run([request])[0].x_0, alone.run([request])[0].x_0
        )  # fmt: skip


def test_the_least_budget_of_a_relay_is_enough(relayed):
    sampler, request = relayed(Budget()), Request(0, 0, 6)
    ledger = sampler.ledger(request)
    least = ledger.minimum_flops / ledger.full_flops
    done = sampler.run([replace(request, budget=least + 1e-6)])[0]
    assert bool((done.widths[:2] == 1).all()), "a stride that is held costs too much"
    assert bool((done.widths[2:] == 4).all())
    assert sampler.leg(replace(request, budget=least - 1e-3)) is None


BELOW = RelayTable({5: Leg(3, 1.5, 0.2, 3.0)})


@pytest.fixture(scope="module")
def chain(late):
    return Relay(late, TABLE, cheaper=Relay(late, BELOW))


def test_a_budget_takes_the_dearest_relay_that_it_pays_for(chain, strided, predictor):
    sampler = Sampler(strided, Budget(), predictor=predictor, relay=chain)
    early = {}
    for budget in (None, 0.95, 0.78, 0.4):
        request = Request(0, 1, 6, budget=budget)
        leg, done = sampler.leg(request), sampler.run([request])[0]
        early[budget] = leg and leg.early
        assert done.flops <= (budget or 1.01) * done.full_flops
        assert bool((done.widths[leg.early if leg else 6 :] == 4).all())
    assert early == {None: 2, 0.95: 2, 0.78: 3, 0.4: None}
    assert sampler.leg(Request(0, 1, 4, budget=0.7)) is None, "the one below begins at 5 steps"


def test_policies_ask_the_relay_that_runs(chain, strided, predictor):
    prices = PriceTable({5: ((1e-12, 1.0), (1e-9, 0.3))})
    chain = replace(chain, cheaper=replace(chain.cheaper, prices=prices))
    pipeline = Pipeline(strided, "abc", predictor, relay=chain)
    leg = BELOW.leg(6)
    expected = prices.price(leg.early_share(0.78, 6), 5)
    assert pipeline.policy("budget", None, 0.78, 6).price == pytest.approx(expected)
    assert pipeline.policy("budget", None, 0.95, 6).price is None
    assert pipeline.policy("static", None, 0.78, 6).widths[3:] == (4, 4, 4)


def test_both_relays_are_priced_saved_and_read(chain, strided, predictor, tmp_path):
    made = priced(chain, strided, predictor)
    assert made.prices.rows.keys() == TABLE.rows.keys()
    assert made.cheaper.prices.rows.keys() == BELOW.rows.keys()
    Pipeline(strided, "abc", predictor, relay=made).save(tmp_path, torch.float32)
    loaded = Pipeline.load(tmp_path).relay
    assert [(r.table, r.prices) for r in loaded.each()] == [
        (r.table, r.prices) for r in made.each()
    ]
    assert all(relay.late is loaded.late for relay in loaded.each())


def test_legs_are_those_of_every_relay(chain):
    assert legs_of(chain.to_json()) == (*TABLE.rows.values(), *BELOW.rows.values())


@pytest.mark.parametrize("content", [[], "relay", {"legs": TABLE.to_json(), "cheaper": []}])
def test_relays_that_nobody_wrote_are_refused(content, late):
    with pytest.raises(WeightsError, match=r"config\.json's relay must be an object"):
        Relay.from_json(content, late)


def test_relays_within_each_other_have_an_end(late):
    content = None
    for _ in range(MAX_RELAYS):
        content = {"legs": TABLE.to_json(), "cheaper": content}
    assert len(list(Relay.from_json(content, late).each())) == MAX_RELAYS
    with pytest.raises(WeightsError, match="at most 4"):
        Relay.from_json({"legs": TABLE.to_json(), "cheaper": content}, late)


def test_a_saved_relay_draws_the_same(strided, predictor, late, tmp_path):
    made = Pipeline(strided, "abc", predictor, relay=Relay(late, TABLE))
    made.save(tmp_path / "student", torch.float32)
    Pipeline(late, "abc").save(tmp_path / "teacher", torch.float32)
    asked = dict(num_inference_steps=6, policy="budget", budget=0.95)
    expected = made.generate([0], [1], **asked).images
    assert torch.equal(Pipeline.load(tmp_path / "student").generate([0], [1], **asked).images,
                       expected)  # fmt: skip
    (tmp_path / "student" / LATE_WEIGHTS).unlink()  # the teacher beside it is as good
    assert torch.equal(Pipeline.load(tmp_path / "student").generate([0], [1], **asked).images,
                       expected)  # fmt: skip
    shutil.rmtree(tmp_path / "teacher")
    with pytest.raises(WeightsError, match=r"teacher/model\.safetensors"):
        Pipeline.load(tmp_path / "student")


def test_a_threshold_exits_where_it_likes_and_so_has_no_relay(strided, predictor, late):
    pipeline = Pipeline(strided, "abc", predictor, relay=Relay(late, TABLE))
    assert pipeline.sampler(Threshold(), "euler").relay is None
    assert pipeline.sampler(Budget(), "euler").relay is not None


def test_a_relay_of_networks_that_do_not_fit_is_refused(denoiser, strided, late):
    for one, other in ((denoiser, late), (strided, strided)):
        with pytest.raises(ModelError, match="a relay must be of a strided denoiser"):
            Pipeline(one, "abc", relay=Relay(other, TABLE))


def test_tables_are_read_as_they_were_written():
    assert RelayTable.from_json(json.loads(json.dumps(TABLE.to_json()))) == TABLE
    assert [TABLE.leg(n) and TABLE.leg(n).early for n in (3, 4, 5, 6, 40)] == [None, 2, 2, 2, 2]


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"6": [2, 7.0, 0.15]}, {"six": [2, 7.0, 0.15, 7.0]}, {"6": [6, 7.0, 0.15, 7.0]},
        {"6": [2, 90.0, 0.15, 7.0]}, {"6": [2, 7.0, 8.0, 7.0]}, {"6": [2, 7.0, 0.15, float("nan")]},
        {"6": [True, 7.0, 0.15, 7.0]}, {"2000": [2, 7.0, 0.15, 7.0]}, {"6": ["2", 7.0, 0.15, 7.0]},
    ],
)  # fmt: skip
def test_tables_that_nobody_wrote_are_refused(content):
    with pytest.raises(WeightsError, match=r"config\.json's relay must have"):
        RelayTable.from_json(content)


def test_prices_of_the_strides_spend_what_the_late_steps_leave(strided, predictor, late, tmp_path):
    relay = Relay(late, TABLE)
    prices = measure_prices(strided, predictor, [6], relay)
    pipeline = Pipeline(strided, "abc", predictor, relay=replace(relay, prices=prices))
    assert LEG.early_share(LEG.budget(0.4, 6), 6) == pytest.approx(0.4)
    costly, cheap = (pipeline.policy("budget", None, LEG.budget(e, 6), 6) for e in (0.7, 0.9))
    assert costly.price > cheap.price
    assert pipeline.policy("budget", None, 0.3, 6).price is None  # the student alone has none
    pipeline.save(tmp_path, torch.float32)
    assert Pipeline.load(tmp_path).relay.prices == prices


def test_a_price_is_that_of_the_leg_that_runs(late):
    rows = {4: ((1e-12, 0.9),), 6: ((1e-9, 0.9),)}
    relay = Relay(late, TABLE, PriceTable(rows))
    assert [relay.price(0.9, n) for n in (3, 4, 5, 6, 7)] == [None, 1e-12, 1e-12, 1e-9, 1e-9]


def test_strides_of_static_are_the_widest_that_fit(strided, late):
    pipeline = Pipeline(strided, "abc", relay=Relay(late, TABLE))
    widths = {}
    for share in (0.65, 0.85, 1.0):
        budget = LEG.budget(share, 6)
        policy = pipeline.policy("static", None, budget, 6)
        widths[share] = policy.widths[:2]
        assert policy.widths[2:] == (4,) * 4
        done = pipeline.sampler(policy, "euler").run([Request(0, 1, 6, 1.0, budget)])[0]
        assert [int(w.max()) for w in done.widths] == list(policy.widths)
        assert done.flops <= budget * done.full_flops
    assert widths[0.65] < widths[0.85] < widths[1.0] == (4, 4)
    assert pipeline.policy("static", None, 0.3, 6).widths is None


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
@pytest.mark.parametrize("steps", [4, 6, 9])
def test_a_schedule_is_run_where_all_of_it_fits(denoiser, strided, late, solver, steps):
    """Also where later steps are set aside, and at another number of steps than it is of."""
    widths = (2, 1, 1, 4, 4, 4)
    plain = Sampler(denoiser, Static(widths=widths), solver_name=solver)
    relayed = Sampler(strided, Static(widths=widths), relay=Relay(late, TABLE))
    for sampler, dense_last in ((plain, False), (plain, True), (relayed, False)):
        free = Request(0, 1, steps, dense_last=dense_last)
        expected = sampler.run([free])[0]
        # Late steps are set aside at the student's cost, which has the stride to embed as well.
        more = 1e-3 if sampler.relay else 1e-9
        enough = expected.flops / expected.full_flops + more
        if sampler.leg(free):
            assert sampler.leg(replace(free, budget=enough))
        done = sampler.run([replace(free, budget=enough)])[0]
        assert torch.equal(done.widths, expected.widths)


def test_a_sealed_bundle_has_late_weights_of_its_own(strided, late, tmp_path):
    Pipeline(strided, "abc", relay=Relay(late, TABLE)).save(tmp_path / "student")
    Pipeline(late, "abc").save(tmp_path / "teacher")
    (tmp_path / "student" / LATE_WEIGHTS).unlink()
    assert Pipeline.load(tmp_path / "student").relay is not None
    (tmp_path / "student" / "manifest.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"student/late\.safetensors"):
        Pipeline.load(tmp_path / "student")
