"""What the search over our own budgets looks at, and in which order."""

from nitrogen.model.errors import BudgetError
from nitrogen.pipelines.bench import quality
from nitrogen.pipelines.bench.budget_search import best_settings, priced, tried_budgets
from nitrogen.pipelines.bench.hull import lower_hull
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import EXIT_THRESHOLDS, Tried, Tuning

FULL_MODEL = lower_hull([2.0, 4.0, 8.0], [4.0, 2.0, 1.0])  # forwards, error


def test_settings_are_ranked_by_their_better_planner(limit):
    def of(steps, error, **planner):
        return Tried(error, 4.0, budget_method(steps, 0.9, **planner))

    looks = [of(4, 2.0), of(4, 3.9, served=True), of(5, 2.5), of(5, 2.4, served=True)]
    best = best_settings(looks, FULL_MODEL, limit)
    assert [(m.setting["num_steps"], m.setting.get("served")) for m in best] == [
        (4, None),
        (5, True),
    ]


def test_a_search_prices_the_best_setting_and_tries_exits(models, drawn, extract, monkeypatch):
    asked = []

    def made_up(tuning, method):
        asked.append(method.setting)
        steps = method.setting["num_steps"]
        if steps == 6:
            raise BudgetError("too little")
        return Tried(1.0 if steps == 5 else 2.0, 4.0 * models.cost.full_flops, method)

    monkeypatch.setattr(Tuning, "look", made_up)
    tuning = Tuning(
        models, drawn, None, extract, 0.0, num_steps=(4, 5, 6), num_priced=1, known=FULL_MODEL
    )
    found = tried_budgets(tuning, "middle")
    assert {look.method.setting["num_steps"] for look in found} == {4, 5}
    assert {s["num_steps"] for s in asked if "price" in s} == {5}
    assert {s["threshold"] for s in asked} == set(EXIT_THRESHOLDS)


def test_a_price_spends_the_budget_and_never_more(models, drawn, extract):
    target = quality.reference(models, drawn)
    overhead = 0.3 * models.cost.full_flops
    tuning = Tuning(models, drawn, target, extract, overhead, num_steps=(6,))
    limit = tuning.ceiling("middle")
    equal = budget_method(6, limit.share(6), tier="middle")
    found = priced(tuning, equal, "middle")
    assert found.setting["price"] > 0
    spent = tuning.look(found).spent
    assert spent <= limit.flops
    cheaper = budget_method(6, limit.share(6), price=found.setting["price"] * 100)
    assert tuning.look(cheaper).spent < spent


def test_a_price_of_our_own_keeps_the_relay(relay_tuning):
    method = budget_method(6, 0.95, served=True)
    assert priced(relay_tuning, method, "high").setting["relay"]
    assert "relay" not in priced(relay_tuning, budget_method(4, 0.9, served=True), "high").setting
