"""Schedules of widths and strides within a tier."""

import numpy as np

from nitrogen.pipelines.bench.ceilings import ceiling
from nitrogen.pipelines.bench.schedule_search import neighbours, relayed, richest


def test_schedules_stay_under_the_ceiling(models):
    price, generator = ceiling(models, "middle", 0.0).prices(), np.random.default_rng(0)
    widths = richest(price, 6, 4.0)
    assert widths is not None
    assert price[widths].sum() <= 4.0
    assert widths == sorted(widths)
    assert richest(price, 40, 3.0) is None
    found = list(neighbours(widths, price, 4.0, generator))
    assert len(found) > 10
    assert all(price[w].sum() <= 4.0 and w[0] > 0 for w in found)
    assert widths not in found
    assert {5, 6} <= {len(w) for w in found}


def test_every_choice_of_strides_under_the_ceiling_is_looked_at(relay_tuning):
    limit = relay_tuning.ceiling("middle")
    found = list(relayed(relay_tuning, limit))
    assert [1, 0, 4, 4, 4] in found
    assert [1, 1, 4, 4] not in found, "it is of the low tier"
    assert [4, 4, 4, 4, 4, 4] not in found
    for widths in found:
        assert widths[0] > 0
        assert widths[2:] == [4] * (len(widths) - 2)
        assert limit.least < limit.prices()[widths].sum() <= limit.forwards
