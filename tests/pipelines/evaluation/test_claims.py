"""Every claim has n, an interval or the reason why not, and what it was measured on."""

import numpy as np
import pytest

from nitrogen.pipelines.context import StepContext
from nitrogen.pipelines.evaluation.claims import claims_of
from nitrogen.pipelines.metrics.bootstrap import Interval, estimate, paired_ratio
from nitrogen.pipelines.report.quality import claims
from nitrogen.pipelines.steps.evaluate import command


def made(value, spread, n=400, seed=0):
    noise = np.random.default_rng(seed).normal(size=n) * spread
    return estimate(value, noise - noise.mean(), np.zeros(50))


def table(kid_of_the_teacher):
    rows = [
        {"gflops": 0.5}, {"gflops": 0.4, "psnr_db": Interval(25.0, 24.9, 25.1, 400).to_dict()},
        {"gflops": 0.5}, {"gflops": 2.0},
    ]  # fmt: skip
    estimates = {
        "teacher": {"kid": kid_of_the_teacher, "fd_lite0": made(100.0, 9)},
        "student": {"kid": made(0.5, 2, seed=1), "fd_lite0": made(120.0, 9, seed=2)},
        "untrained": {"kid": made(5.0, 2, seed=3), "fd_lite0": made(300.0, 9, seed=4)},
        "reference": {},
    }
    gflops = list(np.linspace(0.3, 0.5, 400))
    return claims_of(
        rows, estimates, gflops, Interval(0.8, 0.7, 0.9, 20),
        split_sizes={"train": 8112, "test": 900}, where="a machine; cpu, fp32",
    )  # fmt: skip


@pytest.mark.parametrize("teachers", [made(0.4, 2), made(0.01, 2)], ids=["apart", "at zero"])
def test_each_claim_says_all_that_it_must(teachers):
    found = claims({"claims": table(teachers), "command": "nitrogen x", "commit": "abc"}, "later")
    assert len(found) >= 8
    for claim in found:
        assert claim.n > 0
        assert claim.split not in ("", "not named"), claim.text
        assert (claim.command, claim.commit) == ("nitrogen x", "abc")
        if claim.no_interval:
            assert claim.low is None
        else:
            assert claim.low <= claim.value <= claim.high


def test_a_share_of_nothing_becomes_a_difference():
    texts = [claim["text"] for claim in table(made(0.01, 2))]
    assert "kid of the student minus that of the teacher" in texts
    share = next(c for c in table(made(0.01, 2)) if c["text"] == "kid of the student over the "
                 "teacher's")  # fmt: skip
    assert share["value"] is None
    assert "holds 0" in share["no_interval"]


def test_a_slower_student_saves_less_than_nothing():
    latency = next(c for c in table(made(0.4, 2)) if c["text"].startswith("Latency"))
    assert latency["value"] == pytest.approx(-25)
    assert latency["low"] <= latency["value"] <= latency["high"] < 0
    assert "a machine; cpu, fp32" in latency["split"]


def test_the_interval_of_a_ratio_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits, n = 0, 200
    for _ in range(300):
        common = generator.normal(size=n)  # paired: the same seeds
        a = 3 + common + generator.normal(size=n)
        b = 2 + common + generator.normal(size=n)
        pair = [estimate(x.mean(), x - x.mean(), np.zeros(5)) for x in (a, b)]
        interval = paired_ratio(*pair)
        hits += interval.low <= 1.5 <= interval.high
    assert 0.91 <= hits / 300 <= 0.99


def test_the_command_names_the_recipe_that_the_folder_keeps(tmp_path):
    folder = tmp_path / "a run"
    told = command(StepContext(dir=tmp_path, run_dir=folder))
    assert told == f"nitrogen evaluate '{folder}/recipe.json' --out '{folder}/' --force"
