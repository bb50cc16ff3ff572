"""What the executor section settles by itself."""

import pytest
from pydantic import ValidationError

from nitrogen.pipelines import executor
from nitrogen.pipelines.executor import ExecutorConfig


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_precision_auto_asks_the_processor(monkeypatch, units, expected):
    monkeypatch.setattr(executor, "has_bf16_units", lambda: units)
    config = ExecutorConfig(kind="local", precision="auto")
    assert config.precision == expected
    assert config.facts()["precision"] == expected  # the key names what is computed


def test_precision_auto_on_a_gpu_is_bf16(monkeypatch):
    monkeypatch.setattr(executor, "has_bf16_units", lambda: False)
    assert ExecutorConfig(device="cuda", precision="auto").precision == "bf16"


def test_unknown_precision_is_refused():
    with pytest.raises(ValidationError, match="precision"):
        ExecutorConfig(precision="fp8")


@pytest.mark.parametrize("given", [{"device": "cuda"}, {"use_gpu": True}])
def test_device_and_gpu_follow_each_other(given):
    config = ExecutorConfig(**given)
    assert (config.device, config.use_gpu) == ("cuda", True)
    assert ExecutorConfig(**config.model_dump()) == config  # what travels to a cluster


def test_a_gpu_that_ray_would_not_give_is_refused():
    with pytest.raises(ValidationError, match="use_gpu must be true when device is cuda"):
        ExecutorConfig(kind="embedded", device="cuda", use_gpu=False)
    assert ExecutorConfig(kind="local", device="cuda", use_gpu=False).device == "cuda"


def test_pictures_are_made_in_fp32_on_the_cpu_and_as_trained_on_a_gpu():
    assert ExecutorConfig(precision="bf16").sampling_precision == "fp32"
    assert ExecutorConfig(device="cuda", precision="bf16").sampling_precision == "bf16"
    assert ExecutorConfig(sampling_precision="bf16").sampling_precision == "bf16"


def test_precision_of_pictures_is_in_the_key_of_steps_that_make_them():
    config = ExecutorConfig(sampling_precision="bf16")
    assert config.facts(samples=True)["sampling_precision"] == "bf16"
    assert "sampling_precision" not in config.facts()
