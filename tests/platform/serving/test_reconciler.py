"""The reconciler: follows the champion, refuses once, stays when the registry is away."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.errors import BundleError, TrackingError
from nitrogen.platform.registry import ModelVersion
from nitrogen.platform.serving.endpoint import MoveResult
from nitrogen.platform.serving.reconciler import Reconciler
from nitrogen.platform.serving.replica import ModelRef


@dataclass
class FakeRegistry:
    champion: str | None = None
    damaged: set = field(default_factory=set)
    away: bool = False
    downloads: list = field(default_factory=list)
    tracking_uri: str = "sqlite:///x"

    def alias(self, name, alias):
        if self.away:
            raise TrackingError("registry must answer. Start it.")
        return self.champion

    def get(self, name, alias):
        return ModelVersion(name, self.champion, "d" * 64, "", "")

    def download(self, name, version, cache):
        self.downloads.append(version)
        if version in self.damaged:
            raise BundleError("bundle file 'model.safetensors' does not match.")
        return Path(cache) / version


@dataclass
class FakeEndpoint:
    serving: ModelRef | None = None
    refuses: set = field(default_factory=set)

    def model(self):
        return self.serving

    def move(self, model):
        if model.version in self.refuses:
            return MoveResult(False, "golden pictures differ")
        self.serving = model
        return MoveResult(True)


@pytest.fixture
def parts(tmp_path):
    registry, endpoint = FakeRegistry(), FakeEndpoint()
    audit = AuditLog(tmp_path / "audit.jsonl")
    reconciler = Reconciler(registry, endpoint, "m", tmp_path / "cache", audit)
    return registry, endpoint, reconciler, audit


def test_follows_the_champion_there_and_back(parts):
    registry, endpoint, reconciler, audit = parts
    assert reconciler.reconcile().action == "none"
    for version in ("1", "2", "1"):
        registry.champion = version
        assert reconciler.reconcile().action == "moved"
        assert endpoint.serving.version == version
        assert reconciler.reconcile().action == "none"
    moves = [(record["from"], record["to"]) for record in audit.read()]
    assert moves == [(None, "1"), ("1", "2"), ("2", "1")]


@pytest.mark.parametrize("where", ["bundle", "replica"])
def test_bad_champion_is_refused_once_and_the_old_one_stays(parts, where):
    registry, endpoint, reconciler, audit = parts
    registry.champion = "1"
    reconciler.reconcile()
    (registry.damaged if where == "bundle" else endpoint.refuses).add("2")
    registry.champion = "2"
    first, second = reconciler.reconcile(), reconciler.reconcile()
    assert (first.action, second.action) == ("refused", "none")
    assert second.reason.startswith("version 2 was refused before")
    assert endpoint.serving.version == "1"
    assert registry.downloads.count("2") == 1
    assert audit.read()[-1]["event"] == "endpoint_refused"
    registry.champion = "3"
    assert reconciler.reconcile().action == "moved"


def test_version_that_was_mended_is_tried_again_after_the_alias_moved(parts):
    registry, endpoint, reconciler, _ = parts
    endpoint.refuses.add("2")
    registry.champion = "1"
    reconciler.reconcile()
    registry.champion = "2"
    reconciler.reconcile()
    registry.champion = "1"
    reconciler.reconcile()
    endpoint.refuses.clear()
    registry.champion = "2"
    assert reconciler.reconcile().action == "moved"


def test_watch_outlives_a_registry_that_is_away(parts):
    registry, endpoint, reconciler, _ = parts
    registry.champion = "1"
    rounds, changes = [], []

    def should_stop():
        rounds.append(1)
        registry.away = 2 <= len(rounds) <= 4
        if len(rounds) == 5:
            registry.champion = "2"
        return len(rounds) > 6

    reconciler.watch(should_stop, interval_s=0.0, on_change=changes.append)
    assert [change.version for change in changes] == ["1", "2"]
    assert endpoint.serving.version == "2"
