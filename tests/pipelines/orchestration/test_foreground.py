"""Shipped weights as the bundle that a replica starts from."""

from pathlib import Path

import pytest

from nitrogen.pipelines.foreground import _shipped
from nitrogen.pipelines.generator import load_generator
from nitrogen.platform.bundles import verify_bundle


@pytest.mark.parametrize("run", [None, "shipped:fashion"])
def test_a_replica_starts_from_shipped_weights(run, tmp_path):
    """It refuses a bundle whose pictures it cannot reproduce, or that has none."""
    model = _shipped(run and Path(run), tmp_path)
    verify_bundle(model.source, model.digest)
    generator = load_generator(Path(model.source))
    generator.self_test()
    [made] = generator.generate(
        {
            "class": generator.info()["classes"][0], "n": 1, "seed": 1, "num_inference_steps": 4,
            "policy": "budget", "budget": 0.5, "guidance_scale": 1.0,
        },
        lambda: False,
    )  # fmt: skip
    assert made.metrics["gflops"] <= 0.5 * made.metrics["gflops_full"]
