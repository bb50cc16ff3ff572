"""The attackers raise the cost, and nothing passes the budget."""

import numpy as np
import pytest
import torch

from nitrogen.pipelines.bench import attack
from nitrogen.pipelines.bench.attack import described, run_attack
from nitrogen.pipelines.bench.attackers import (
    Attacker,
    evolve,
    random_inputs,
    random_labels,
    to_sphere,
)
from nitrogen.pipelines.bench.victim import AttackConfig, Cost, Victim

CONFIG = AttackConfig.quick().model_copy(update={"threshold": 0.02})


@pytest.fixture(scope="module")
def victim(models):
    return Victim(models.student, CONFIG, "no budget")


def test_noise_of_a_seed_costs_what_the_request_costs(models, victim):
    eps, labels = random_inputs(victim, 4, 0), random_labels(victim, 4, 0)
    found = victim.cost(eps, labels)
    made = models.student.generate(
        labels, range(4), num_inference_steps=CONFIG.num_steps, policy="threshold",
        threshold=CONFIG.threshold,
    )  # fmt: skip
    np.testing.assert_allclose(found.flops / 1e9, [s.gflops for s in made.stats])


def test_evolution_never_gets_cheaper(victim):
    eps, labels = random_inputs(victim, 12, 0), random_labels(victim, 12, 0)
    usual = victim.cost(eps, labels)
    evolved = evolve(victim, labels, usual.flops)
    assert evolved.flops.max() >= usual.flops.max()
    assert len(evolved.flops) == min(CONFIG.population, 12)


def test_gradient_ascent_raises_its_proxy_and_stays_confined(victim):
    attacker = Attacker(victim)
    x = random_inputs(victim, 1, 3).requires_grad_(True)
    before = attacker.proxy(x, 2).item()
    attacker.config = CONFIG.model_copy(update={"ascent_steps": 8})
    costs = attacker.attack(x.detach(), 2)
    assert attacker.proxy(x, 2).item() > before  # the embedding alone has helped already
    assert {name: cost.flops.shape for name, cost in costs.items()} == dict.fromkeys(
        ("both", "noise", "embedding"), (1,)
    )
    for table, own in zip(attacker.tables, attacker.own, strict=True):
        assert table.norm(dim=1).max() <= CONFIG.embedding_radius * own.norm(dim=1).max() * 1.001
        moved = (table - own).abs().amax(dim=1) > 0
        assert moved.nonzero().flatten().tolist() == [2]
    # The victim's own weights are untouched.
    torch.testing.assert_close(victim.pipeline.predictor.classes, attacker.own[1])


def test_the_budget_holds_against_all(models, tmp_path):
    found = run_attack(CONFIG, models.student, "0", tmp_path, lambda text: None)
    for name in ("budget", "no budget"):
        assert set(found[name]["attacks"]) == {"seeds", "evolution", "gradient"}
        assert set(found[name]["gradient_alone"]) == {"noise", "embedding"}
        for one in found[name]["attacks"].values():
            assert one["never_above_ceiling"], (name, one)
            assert one["max_gflops"] <= found[name]["ceiling_gflops"]
        assert found[name]["attacks"]["seeds"]["n"] == CONFIG.num_seeds
    assert found["budget"]["ceiling_gflops"] == pytest.approx(
        CONFIG.budget * found["budget"]["full_gflops"], rel=1e-6
    )


def test_an_attack_goes_on_where_it_was_cut_off(models, tmp_path, monkeypatch):
    small = {"num_seeds": 12, "population": 4, "generations": 1, "ascents": 1, "ascent_steps": 1}
    config = CONFIG.model_copy(update=small)
    monkeypatch.setattr(attack, "CHUNK", 5)
    said, parts, real = [], [], attack.Kept._kept

    def cut_off(self, victim, part, make):
        def watched():
            parts.append(part)
            if len(parts) == 5:
                raise KeyboardInterrupt
            return make()

        return real(self, victim, part, watched)

    monkeypatch.setattr(attack.Kept, "_kept", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_attack(config, models.student, "0", tmp_path, said.append)
    assert parts[:3] == [f"no budget: seeds from {i}" for i in (0, 5, 10)]
    cut = parts[4]
    found = run_attack(config, models.student, "0", tmp_path, said.append)
    assert parts[5] == cut
    assert len(parts) - 1 == len(set(parts)) == 2 * (3 + 1 + 1)
    again = run_attack(config, models.student, "0", tmp_path, said.append)
    assert again == found
    assert len(parts) - 1 == len(set(parts))
    assert said[-1].startswith("[0 s left]")
    run_attack(config, models.student, "another model", tmp_path, said.append)
    assert len(parts) - 1 == 2 * len(set(parts))
    # Parts or no parts: the seeds are the same.
    monkeypatch.undo()
    whole = run_attack(config, models.student, "0", tmp_path / "whole", said.append)
    assert whole["no budget"]["attacks"]["seeds"] == found["no budget"]["attacks"]["seeds"]


def test_where_the_extra_came_from():
    usual = np.zeros((2, 6, 2, 2), np.uint8)
    usual[:, :3] = 2  # half width, then everything held
    worst = usual[:1].copy()
    worst[:, 3] = 2  # one more step at the usual width
    worst[:, 0, 0, 0] = 4  # one region twice as wide
    cost = lambda w, f: Cost(np.array(f), 10.0, 10.0, w)  # noqa: E731
    found = described(cost(worst, [6.0]), cost(usual, [4.0, 2.0]))
    assert found["amplification"] == pytest.approx(2.0)
    assert found["by_thirds"] == pytest.approx([0.5, 2.0, 0.0])
    assert found["from_holds"] == pytest.approx(2.0)
    assert found["from_widths"] == pytest.approx(0.5)
    assert found["share_of_ceiling"] == pytest.approx(0.6)


def test_noise_stays_on_its_sphere():
    x = to_sphere(torch.randn(3, 8, 8, 3) * 7)
    torch.testing.assert_close(x.square().mean(dim=(1, 2, 3)), torch.ones(3))
