"""The parts of a sweep that need no Ray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.platform.errors import ConfigError, StorageError
from nitrogen.platform.optuna_search import DominancePruner, SweepSearch, verdict
from nitrogen.platform.sweep_journal import SweepJournal
from nitrogen.platform.sweep_space import distributions, dominates, objectives, pareto_indices
from nitrogen.platform.sweeps import _no_credentials_in_logs, _sampler, run_sweep

METRICS = ("distance", "gflops")
SPACE = {"x": {"low": 0.0, "high": 1.0}, "kind": ["a", "b"]}


def search_on(folder, seed=3, on_trial=None):
    journal = SweepJournal(str(folder))
    search = SweepSearch(
        distributions(SPACE),
        METRICS,
        ("minimize", "minimize"),
        journal,
        seed,
        _sampler("optuna"),
        on_trial,
    )
    return search, journal


def done(x, y):
    return {"distance": x, "gflops": y, "_done": True, "training_iteration": 1, "pid": 1}


def test_states_are_told_rightly(tmp_path):
    seen = []
    search, journal = search_on(tmp_path, on_trial=seen.append)
    for name in "abcdef":
        search.suggest(name)
    search.on_trial_complete("a", done(1.0, 2.0))
    search.on_trial_complete("b", {"distance": 0.1, "gflops": 0.1, "training_iteration": 2})
    search.on_trial_complete("c", {"distance": 1.0, "_done": True})
    search.on_trial_complete("d", done(float("nan"), 1.0))
    search.on_trial_complete("e", error=True)
    search.on_trial_complete("f", {"_error": "ValueError: no"})
    states = ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL", "FAIL"]
    assert [trial.state for trial in seen] == states
    assert [trial.state.name for trial in search._ot_study.trials] == states
    assert seen[0].metrics == {"distance": 1.0, "gflops": 2.0}
    assert [t.number for t in search._ot_study.best_trials] == [0]
    assert seen[5].error == "ValueError: no"
    assert SweepJournal(str(tmp_path)).finished[0] == seen[0]
    assert not journal.interrupted()


def test_resumed_search_suggests_what_an_uninterrupted_one_would(tmp_path):
    whole, _ = search_on(tmp_path / "whole")
    configs = []
    for i in range(14):
        suggestion = whole.suggest(str(i))
        configs.append(suggestion["config"])
        x = suggestion["config"]["x"]
        whole.on_trial_complete(str(i), done(x, 1 - x))
    resumed = []
    for attempt in range(7):
        search, _ = search_on(tmp_path / "cut")
        for name in ("u", "v", "w"):
            suggestion = search.suggest(name)
            x = suggestion["config"]["x"]
            if name == "w":  # cut off: the next attempt begins with this one
                break
            resumed.append(suggestion["config"])
            assert suggestion["index"] == len(resumed) - 1, attempt
            search.on_trial_complete(name, done(x, 1 - x))
    assert resumed == configs
    assert len({config["x"] for config in configs}) == 14


def test_another_seed_gives_other_configs(tmp_path):
    first, _ = search_on(tmp_path / "a", seed=1)
    second, _ = search_on(tmp_path / "b", seed=2)
    assert first.suggest("t")["config"] != second.suggest("t")["config"]


def test_nothing_is_pickled(tmp_path):
    search, _ = search_on(tmp_path, on_trial=lambda trial: None)
    search.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == b""


def test_foreign_journal_is_one_sentence(tmp_path):
    (tmp_path / "trials.jsonl").write_bytes(b"\x80\x04pickle\n".replace(b"\x80", b"x"))
    with pytest.raises(StorageError, match="must be the journal of a sweep"):
        SweepJournal(str(tmp_path))


def test_verdict_of_nothing_is_pruned_only_without_error():
    assert verdict(None, None, False) == ("PRUNED", None)
    assert verdict(None, None, True)[0] == "FAIL"


def test_pruner_stops_what_two_others_dominate():
    pruner = DominancePruner(METRICS, (1, 1), grace_reports=1, min_dominating=2)

    def at(name, report, x, y):
        return pruner.decide(name, report, {"distance": x, "gflops": y})

    for report in (1, 2):
        assert not at("a", report, 1.0, 1.0)
        assert not at("b", report, 0.9, 1.1)
    assert not at("bad", 1, 5.0, 5.0)  # grace
    assert not at("other", 2, 0.95, 1.2)  # dominated by b alone
    assert at("bad", 2, 5.0, 5.0)
    assert not at("cheap", 2, 5.0, 0.1)  # better in one objective
    assert not pruner.decide("part", 2, {"distance": 9.0})


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({}, "space must name"),
        ({"x": {"low": 2.0, "high": 1.0}}, r"space\.x must be a range"),
        ({"x": {"low": 0.0, "high": 1.0, "log": True}}, r"space\.x must be a range"),
        ({"x": {"lo": 0.0, "high": 1.0}}, r"space\.x must have low"),
        ({"x": 3}, r"space\.x must have low"),
        ({"x": []}, r"space\.x must be a range"),
    ],
)
def test_bad_spaces_name_the_parameter(space, match):
    with pytest.raises(ConfigError, match=match):
        distributions(space)


@pytest.mark.parametrize(
    "change",
    [{"directions": ("down", "minimize")}, {"num_trials": 0}, {"directions": ("minimize",)}],
)
def test_bad_arguments_are_refused_before_ray(tmp_path, change):
    options = {"name": "s", "storage_path": tmp_path, "num_trials": 2, **change}
    with pytest.raises(ConfigError, match="must be"):
        run_sweep(lambda config, report: {}, SPACE, **options)


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(points)
def test_front_is_exactly_the_undominated(cloud):
    front = pareto_indices(cloud, (1, -1))
    assert front
    for i, point in enumerate(cloud):
        beaten = any(dominates(other, point, (1, -1)) for other in cloud)
        assert (i in front) != beaten


def test_objectives_must_be_finite_numbers():
    assert objectives({"distance": 1, "gflops": 2.5}, METRICS) == [1.0, 2.5]
    assert objectives({"distance": float("inf"), "gflops": 2.5}, METRICS) is None
    assert objectives({"distance": 1}, METRICS) is None
    assert objectives(None, METRICS) is None


def test_credentials_stay_out_of_what_ray_logs(monkeypatch):
    from ray.tune.execution.class_cache import _ActorClassCache

    class Trainable:
        pass

    def variables():
        return _ActorClassCache().get(Trainable)._default_options["runtime_env"]["env_vars"]

    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for name in names:
        monkeypatch.setenv(name, "secret")
    assert set(names) <= variables().keys(), "Ray has ceased to: the guard may go"
    with _no_credentials_in_logs():
        assert "secret" not in variables().values()
    assert set(names) <= variables().keys()
