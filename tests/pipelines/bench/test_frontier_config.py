"""The sizes of a frontier: presets, and what --set makes of them."""

import pytest

from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.platform.errors import ConfigError


def test_set_replaces_what_it_names_and_nothing_else():
    day = FrontierConfig.preset("day")
    changed = day.changed(["num_tune=48", "saving_steps=[4, 6]"], num_images=None, rounds=7)
    assert (changed.num_tune, changed.saving_steps, changed.rounds) == (48, (4, 6), 7)
    names = ("num_tune", "saving_steps", "rounds")
    assert day.model_dump(exclude=set(names)) == changed.model_dump(exclude=set(names))


def test_a_preset_alone_stays_as_it_is():
    assert FrontierConfig.quick().changed(()) == FrontierConfig.quick()


@pytest.mark.parametrize(
    "text", ["num_tuna=48", "num_tune=0", "num_tune=many", "num_tune", "saving_steps=[x]"]
)
def test_other_keys_and_values_are_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        FrontierConfig.preset("day").changed([text])


def test_another_preset_is_refused():
    with pytest.raises(ConfigError, match="quick, day or full"):
        FrontierConfig.preset("week")
