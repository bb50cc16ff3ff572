"""The promote step on a real registry (SQLite), with a generator that needs no model."""

import dataclasses
import json
import shutil
from pathlib import Path

import fake_generator
import pytest

from nitrogen.pipelines.atomic_json import read_json, write_json
from nitrogen.pipelines.context import StepContext, StepOutput
from nitrogen.pipelines.evaluation.rows import flat
from nitrogen.pipelines.steps.promote import (
    PromoteConfig,
    measurements,
    run,
    student_directory,
)
from nitrogen.platform.audit import AuditLog
from nitrogen.platform.bundles import verify_bundle
from nitrogen.platform.errors import BundleError, ConfigError, DataError, GateError
from nitrogen.platform.promotion import promote, rollback
from nitrogen.platform.registry import Registry


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """An empty registry's database: MLflow takes 2 s to make one."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Registry(f"sqlite:///{path}").versions("demo")
    return path


@pytest.fixture(autouse=True)
def database(migrated, tmp_path):
    shutil.copyfile(migrated, tmp_path / "mlflow.db")


def config(**fields) -> PromoteConfig:
    gates = [{"metric": "fd_lite0", "op": "<=", "bound": 100.0, "champion_ratio": 1.0}]
    return PromoteConfig(generator="fake_generator:load_generator", **{"gates": gates, **fields})


def context(root: Path, name: str, fd: float, **student) -> StepContext:
    """A step's surroundings after distill and evaluate; the registry is shared by `root`."""
    distilled = root / name / "distill"
    fake_generator.make_bundle(distilled / "student", **student)
    (distilled / "student" / "manifest.json").unlink()
    (distilled / "student" / "optimizer.pt").write_bytes(b"not for a bundle")
    inputs = {
        "prepare": StepOutput(root / name, {"digest": "emoji"}),
        "distill": StepOutput(distilled, {"student": "student"}),
        "evaluate": StepOutput(
            root / name,
            {
                "teacher": {"fd_lite0": 1.0},
                "operating_point": {
                    "policy": "budget",
                    "budget": fd / 100,
                    "threshold": None,
                    "num_inference_steps": 6,
                    "solver": "unipc",
                },
                "student": {"fd_lite0": {"value": fd, "low": fd - 1, "high": fd + 1, "n": 64}},
            },
        ),
    }
    (root / name / "promote").mkdir()
    return StepContext(
        dir=root / name / "promote", inputs=inputs, name="demo", key="k" * 64, run_dir=root
    )


@pytest.mark.slow
def test_bundle_is_sealed_registered_and_promoted_and_a_worse_one_refused(tmp_path):
    first = run(config(), context(tmp_path, "one", fd=50.0))
    assert first["champion"] == {"name": "demo", "version": "1"}
    assert first["promoted"]
    json.dumps(first)
    bundle = tmp_path / "one" / "promote" / first["bundle"]
    assert verify_bundle(bundle) == first["digest"]
    assert sorted(path.name for path in bundle.iterdir()) == [
        "config.json",
        "golden.json",
        "manifest.json",
        "model.safetensors",
        "operating_point.json",
    ]

    worse = context(tmp_path, "two", fd=60.0, color=(1, 2, 3))
    with pytest.raises(GateError, match="fd_lite0 60 is not <= 50"):
        run(config(), worse)
    kept = run(config(on_refusal="keep"), worse)
    assert not kept["promoted"]
    assert "fd_lite0 60" in kept["refused"]
    assert kept["champion"] == {"name": "demo", "version": "1"}
    assert kept["version"] == "2"  # registered once, not again

    better = run(config(), context(tmp_path, "three", fd=40.0, color=(4, 5, 6)))
    assert better["champion"]["version"] == "3"
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    assert registry.aliases("demo") == {"champion": "3", "previous": "1"}
    assert registry.get("demo", 3).tags["nitrogen.data"] == "emoji"
    point = {
        "policy": "budget", "budget": 0.4, "threshold": None, "num_inference_steps": 6,
        "solver": "unipc",
    }  # fmt: skip
    assert json.loads(registry.get("demo", 3).tags["nitrogen.operating_point"]) == point
    bundle = tmp_path / "three" / "promote" / better["bundle"]
    assert json.loads((bundle / "operating_point.json").read_text()) == point
    events = [record["event"] for record in AuditLog(tmp_path / "audit.jsonl").read()]
    assert events == ["promoted", "refused", "refused", "promoted"]


@pytest.mark.slow
def test_the_same_student_measured_again_is_a_version_to_roll_back_from(tmp_path):
    """README's example: a run with other settings of `evaluate` alone makes version 2."""
    overlap = [{"metric": "fd_lite0", "op": "<=", "champion_ratio": 1.0, "interval": "overlap"}]
    name, audit = "demo", AuditLog(tmp_path / "audit.jsonl")
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    run(config(gates=overlap), context(tmp_path, "one", fd=50.0))
    with pytest.raises(GateError, match="got none before version 1"):
        rollback(registry, name, audit)
    again = dataclasses.replace(context(tmp_path, "two", fd=50.0), key="l" * 64)
    assert run(config(gates=overlap), again)["champion"] == {"name": name, "version": "2"}
    assert rollback(registry, name, audit).to_version == "1"
    assert promote(registry, name, "2", config(gates=overlap).gates, audit).to_version == "2"


def test_model_that_fails_its_self_test_is_never_registered(tmp_path):
    with pytest.raises(BundleError, match="golden pictures differ"):
        run(config(), context(tmp_path, "one", fd=1.0, broken=True))
    assert not Registry(f"sqlite:///{tmp_path}/mlflow.db").versions("demo")


def test_the_student_that_was_evaluated_is_promoted(tmp_path):
    with pytest.raises(ConfigError, match="after distill"):
        student_directory({})
    inputs = {}
    for step in ("distill", "sweep"):
        inputs[step] = StepOutput(tmp_path / step, {"student": "best"})
        with pytest.raises(DataError, match=r"model\.safetensors"):
            student_directory(inputs)
        (tmp_path / step / "best").mkdir(parents=True)
        for name in ("model.safetensors", "config.json"):
            (tmp_path / step / "best" / name).write_text("{}")
        assert student_directory(inputs) == tmp_path / step / "best"
    inputs["sweep"] = StepOutput(tmp_path / "sweep", {"trials": []})
    assert student_directory(inputs) == tmp_path / "distill" / "best"


def test_metrics_keep_their_intervals():
    rows = {
        "fd_lite0": {"value": 5.0, "low": 4.0, "high": None, "n": 64},
        "kid": 2.0,
        "kid_low": 1.0,
        "kid_high": 3.0,
        "gflops": 0.5,
        "psnr_db": float("inf"),
        "ms_p50": {"value": 5.0, "low": float("nan"), "high": 6.0},
        "name": "student",
        "good": True,
    }
    found = measurements({"student": rows, "untrained": {"kid": 8.0, "fd_lite0": None}})
    assert found["fd_lite0"] == {"value": 5.0, "low": 4.0, "high": None, "n": 64}
    assert found["kid"] == {"value": 2.0, "low": 1.0, "high": 3.0}
    assert found["kid_over_untrained"] == 0.25
    assert found["gflops"] == 0.5
    assert (found["psnr_db"], found["ms_p50"]) == ("inf", "nan")
    assert not {"name", "good", "fd_lite0_over_untrained"} & set(found)
    assert measurements({}) == {}
    broken = measurements({"student": {"kid": 2.0}, "untrained": {"kid": float("nan")}})
    assert broken["kid_over_untrained"] == "nan", "not absent, which a gate may let pass"


def test_a_metric_that_is_not_finite_is_refused_and_not_taken_for_absent(tmp_path):
    """Whether a gate reads it or not, and after evaluate's result was read back from the disk."""
    lenient = {"metric": "kid", "op": "<=", "bound": 9.0, "missing": "pass"}
    for name, value, gates in (("a", float("nan"), [lenient]), ("bb", float("inf"), [])):
        row = {"kid": {"value": value, "low": 1.0, "high": 2.0}, "gflops": 1.0, "gflops_full": 2.0}
        write_json(tmp_path / "result.json", {"student": flat(row)})
        for on_disk in (False, True):
            here = context(tmp_path, f"{name}{on_disk}", fd=1.0, color=(len(name), 2, 3))
            here.inputs["evaluate"].clear()
            result = read_json(tmp_path / "result.json") if on_disk else {"student": flat(row)}
            here.inputs["evaluate"].update(result)
            told = f"finite metrics, got kid {value}.* evaluate the candidate again"
            with pytest.raises(GateError, match=told):
                run(config(gates=gates), here)
    kept = run(config(gates=[], on_refusal="keep"), here)
    assert kept["champion"] is None
    assert "kid inf" in kept["refused"]
    good = context(tmp_path, "good", fd=1.0)
    assert run(config(gates=[lenient]), good)["promoted"], "absent: that gate says pass"


@pytest.mark.parametrize(
    ("kid", "ratio", "passes"), [(2.0, 0.6, True), (7.9, 0.6, False), (2, 1.1, False)]
)
def test_default_gates_ask_for_learning_and_the_ceiling(kid, ratio, passes):
    from nitrogen.platform.gates import check_gates

    student = {"kid": kid, "compute_ratio": ratio}
    found = measurements({"student": student, "untrained": {"kid": 8.0}})
    results = check_gates(found, None, PromoteConfig().gates)
    assert all(result.passed for result in results) is passes
