"""run_sweep on a real Ray: one trial fails, one is pruned, one dies, and nothing runs twice."""

import os
from pathlib import Path

import pytest

from nitrogen.platform.errors import ClusterError, TrainingError
from nitrogen.platform.sweeps import run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

SPACE = {"x": {"low": 0.0, "high": 1.0}}


def objective(config, report):
    """Trials 0 and 1 are good, 2 is worse than both in all, 3 raises, 4 dies."""
    Path(report.folder).mkdir(parents=True, exist_ok=True)
    with open(Path(report.folder).parent / "calls.txt", "a") as calls:
        calls.write(f"{report.index} {os.environ.get('NITROGEN_TEST')}\n")
    base = {0: (1.0, 2.0), 1: (2.0, 1.0), 2: (9.0, 9.0)}.get(report.index, (0.5, 5.0))
    for _ in range(3):
        report({"distance": base[0], "gflops": base[1]})
    if report.index == 3:
        raise ValueError("no picture\nat all")
    if report.index == 4:
        os._exit(1)
    return {"distance": base[0], "gflops": base[1], "extra": 7}


def test_states_front_and_resume(embedded_ray, tmp_path, monkeypatch):
    monkeypatch.setenv("NITROGEN_TEST", "forwarded")
    seen = []
    options = {"name": "a sweep", "storage_path": tmp_path / "my sweeps", "on_trial": seen.append}
    first = run_sweep(objective, SPACE, num_trials=4, **options)
    assert [trial.state for trial in first.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    assert first.pareto == [0, 1]
    assert first.trials[0].metrics == {"distance": 1.0, "gflops": 2.0, "extra": 7}
    assert first.trials[3].error == "ValueError: no picture"
    assert [trial.index for trial in seen] == [0, 1, 2, 3]
    # Four are done: the next call runs one more, and one after that nothing.
    second = run_sweep(objective, SPACE, num_trials=5, **options)
    assert second.trials[:4] == first.trials
    assert second.trials[4].state == "FAIL"
    assert second.trials[4].error == "the process of the trial died"
    assert run_sweep(objective, SPACE, num_trials=5, **options) == second
    calls = (tmp_path / "my sweeps" / "a sweep" / "trials" / "calls.txt").read_text().split("\n")
    assert calls[:-1] == [f"{i} forwarded" for i in range(5)]


def test_all_failed_and_too_large_are_sentences(embedded_ray, tmp_path):
    options = {"storage_path": tmp_path, "num_trials": 1}
    with pytest.raises(ClusterError, match="must fit a node"):
        run_sweep(objective, SPACE, name="big", resources_per_trial={"CPU": 99}, **options)

    def failing(config, report):
        raise RuntimeError("always")

    with pytest.raises(TrainingError, match=r"every trial of the sweep failed.*always"):
        run_sweep(failing, SPACE, name="failing", **options)
