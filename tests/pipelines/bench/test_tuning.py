"""What a search takes of the settings that it looked at."""

from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.tuning import AS_GOOD, Tried, cheapest


def test_of_what_is_about_as_good_the_cheapest_is_taken():
    looks = [
        Tried(1.0, 9.0, budget_method(8, 0.9)),
        Tried(0.999 * AS_GOOD, 5.0, budget_method(5, 0.9)),
        Tried(1.001 * AS_GOOD, 3.0, budget_method(3, 0.9)),
    ]
    assert cheapest(looks).setting["num_steps"] == 5
    assert cheapest(looks[:1]).setting["num_steps"] == 8
