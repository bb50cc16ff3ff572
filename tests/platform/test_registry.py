"""The registry on a real MLflow store (SQLite), one store for the whole file."""

import json
from pathlib import Path

import pytest

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.bundles import verify_bundle, write_bundle
from nitrogen.platform.errors import BundleError, GateError, TrackingError
from nitrogen.platform.gates import Gate
from nitrogen.platform.promotion import promote, rollback
from nitrogen.platform.registry import DIGEST_TAG, Registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    home = tmp_path_factory.mktemp("registry home")  # a space, as in a user's folder
    return Registry(f"sqlite:///{home}/mlflow.db")


def make(directory: Path, **config) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    write_bundle(directory)
    return directory


@pytest.mark.slow
def test_register_download_promote_roll_back(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = make(tmp_path / "one", v=1), make(tmp_path / "two", v=2)
    first = registry.register(one, "loop", metrics={"fd": {"value": 5.0, "low": 4.0, "high": 6.0}})
    again = registry.register(one, "loop", metrics={"fd": {"value": 5.0, "low": 4.0, "high": 6.0}})
    second = registry.register(two, "loop", metrics={"fd": 3.0}, tags={"recipe": "demo"})
    assert (first.version, again.version, second.version) == ("1", "1", "2")
    assert second.tags["recipe"] == "demo"
    assert registry.get("loop", 1).metrics["fd"]["high"] == 6.0

    audit = AuditLog(tmp_path / "audit.jsonl")
    gates = [Gate(metric="fd", op="<=", bound=10.0, champion_ratio=1.0)]
    promote(registry, "loop", "1", gates, audit)
    promote(registry, "loop", "2", gates, audit)
    assert registry.aliases("loop") == {"champion": "2", "previous": "1"}
    with pytest.raises(GateError, match="fd 5 is not <= 3"):
        promote(registry, "loop", "1", gates, audit)
    rollback(registry, "loop", audit)
    assert registry.get("loop", "champion").version == "1"

    fetched = registry.download("loop", "champion", tmp_path / "cache")
    assert verify_bundle(fetched) == first.digest
    assert fetched == tmp_path / "cache" / first.digest
    (fetched / "config.json").write_text("{}")  # damaged on disk: fetched anew
    assert verify_bundle(registry.download("loop", "1", tmp_path / "cache")) == first.digest
    assert not (tmp_path / "mlruns").exists()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name != first.digest]


def test_altered_artifacts_and_altered_tags_are_refused(registry, tmp_path):
    version = registry.register(make(tmp_path / "one", v=3), "altered")
    stored = Path(version.source.removeprefix("file://").replace("%20", " "))
    (stored / "config.json").write_text('{"v": 4}')
    with pytest.raises(BundleError, match=r"config\.json"):
        registry.download("altered", "1", tmp_path / "cache")
    assert not (tmp_path / "cache" / version.digest).exists()

    other = registry.register(make(tmp_path / "two", v=5), "altered")
    registry.set_tag("altered", other.version, DIGEST_TAG, "0" * 64)
    with pytest.raises(BundleError, match="not the one that was registered"):
        registry.download("altered", other.version, tmp_path / "cache")
    registry.set_tag("altered", other.version, DIGEST_TAG, "../../escape")
    with pytest.raises(BundleError, match="sha256 digest tag"):
        registry.download("altered", other.version, tmp_path / "cache")


def test_damaged_bundle_is_never_registered(registry, tmp_path):
    bundle = make(tmp_path / "one", v=6)
    (bundle / "config.json").write_text("{}")
    with pytest.raises(BundleError):
        registry.register(bundle, "refused")
    assert registry.versions("refused") == []


def test_what_is_not_there_is_a_sentence(registry):
    assert registry.alias("nothing", "champion") is None
    with pytest.raises(TrackingError, match="version or alias 'champion'"):
        registry.get("nothing", "champion")


def test_store_that_cannot_be_opened_is_a_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(TrackingError, match="could not be reached"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db").versions("m")
