"""Prices: budgets to prices and back, kept beside the weights, and no ceiling passed."""

import math

import pytest

from nitrogen.model.config_file import write_prices
from nitrogen.model.errors import WeightsError
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.prices import GAINS, PriceTable, measure_prices

TABLE = PriceTable({4: ((1e-10, 0.9), (1e-9, 0.5), (1e-8, 0.1)), 16: ((1e-10, 0.8), (1e-8, 0.2))})


@pytest.mark.parametrize(
    ("budget", "num_steps", "price"),
    [
        (0.9, 4, 1e-10), (0.5, 4, 1e-9), (0.1, 4, 1e-8),
        (0.7, 4, 10**-9.5), (0.5, 12, 1e-9), (0.5, 900, 1e-9),
        (1.0, 4, 1e-10), (0.05, 4, 1e-8),
    ],
)  # fmt: skip
def test_a_budget_has_its_price(budget, num_steps, price):
    assert math.isclose(TABLE.price(budget, num_steps), price, rel_tol=1e-9)


def test_less_is_bought_at_a_higher_price(denoiser, predictor):
    table = measure_prices(denoiser, predictor, steps=(4,))
    prices, shares = zip(*table.rows[4], strict=True)
    assert len(prices) == len(GAINS)
    assert 0 < shares[-1] < 0.5 * shares[0], "at the highest price hardly anything is bought"
    assert measure_prices(denoiser, predictor, steps=(4,)) == table, "measured the same again"


def test_a_saved_model_spends_at_its_price_and_never_above_its_budget(
    denoiser, predictor, tmp_path
):
    classes = [f"c{i}" for i in range(denoiser.arch.num_classes)]
    Pipeline(denoiser, classes, predictor).save(tmp_path)
    drawn = {"labels": [0, 1], "seeds": [1, 2], "num_inference_steps": 4, "policy": "budget"}
    equal = Pipeline.load(tmp_path)
    assert equal.prices is None
    table = PriceTable({4: ((1e-7, 0.9), (1e-6, 0.1))})
    write_prices(tmp_path, table)
    priced = Pipeline.load(tmp_path)
    assert priced.prices == table
    heats = []
    for pipeline in (equal, priced):
        stats = pipeline.generate(**drawn, budget=0.6).stats
        assert all(one.gflops <= 0.6 * one.gflops_full for one in stats)
        heats.append([one.heatmap for one in stats])
    assert any((a != b).any() for a, b in zip(*heats, strict=True)), "other steps are bought"


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"4": []}, {"x": [[1e-9, 0.5]]}, {"0": [[1e-9, 0.5]]}, {"4": [[1e-9]]},
        {"4": [[1e-9, 0.5], [1e-8, 0.6]]}, {"4": [[1e-8, 0.5], [1e-9, 0.4]]},
        {"4": [[-1.0, 0.5]]}, {"4": [[math.nan, 0.5]]}, {"4": [[math.inf, 0.5]]},
        {"4": "text"}, {"4": [[1e-9, 0.5]] * 65}, {"4": [[10**400, 0.5]]},
        {"9" * 400: [[1.0, 0.5]]},
    ],
)  # fmt: skip
def test_another_table_is_refused(content):
    with pytest.raises(WeightsError, match="prices must rise as shares fall"):
        PriceTable.from_json(content)


def test_a_table_survives_json():
    assert PriceTable.from_json(TABLE.to_json()) == TABLE
