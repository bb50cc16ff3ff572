"""A table of prices: budgets to prices, and what is no table."""

import math

import pytest

from nitrogen.model.errors import WeightsError
from nitrogen.model.price_table import PriceTable

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
