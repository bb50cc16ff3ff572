"""Promotion: moves only what it compared, refuses with numbers, and goes back."""

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.errors import GateError
from nitrogen.platform.gates import Gate
from nitrogen.platform.promotion import promote, rollback
from nitrogen.platform.registry import ModelVersion

GATES = (
    Gate(metric="fd", op="<=", bound=100.0, champion_ratio=1.0),
    Gate(metric="gflops", op="<=", bound=5.0),
)


@dataclass
class DictRegistry:
    """The registry's aliases and metrics in memory."""

    metrics: dict
    held: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    before_read: object = None

    def aliases(self, name):
        return dict(self.held)

    def alias(self, name, alias):
        if self.before_read:
            self.before_read(self)
        return self.held.get(alias)

    def get(self, name, version):
        tags = {"nitrogen.data": self.data.get(version, "emoji")}
        return ModelVersion(name, version, "d" * 64, "", "", self.metrics[version], tags)

    def set_alias(self, name, alias, version):
        self.held[alias] = version

    def set_tag(self, name, version, key, value):
        self.tags[version, key] = value


@pytest.fixture
def audit(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl")


@pytest.fixture
def registry():
    return DictRegistry(
        {
            "1": {"fd": 50.0, "gflops": 4.0},
            "2": {"fd": 40.0, "gflops": 3.0},
            "3": {"fd": 60.0, "gflops": 9.0},
        }
    )


def test_first_promotion_needs_only_the_absolute_gates(registry, audit):
    done = promote(registry, "m", "1", GATES, audit, actor="ada")
    assert (done.moved, done.from_version, done.to_version) == (True, None, "1")
    assert registry.held == {"champion": "1"}
    assert registry.tags["1", "nitrogen.gate"] == "passed"
    (record,) = audit.read()
    assert (record["event"], record["from"], record["to"]) == ("promoted", None, "1")
    assert record["actor"] == "ada"
    assert len(record["gates_digest"]) == 64


def test_better_version_takes_over_and_rollback_swaps(registry, audit):
    promote(registry, "m", "1", GATES, audit)
    promote(registry, "m", "2", GATES, audit)
    assert registry.held == {"champion": "2", "previous": "1"}
    assert rollback(registry, "m", audit).to_version == "1"
    assert registry.held == {"champion": "1", "previous": "2"}
    rollback(registry, "m", audit)
    assert registry.held == {"champion": "2", "previous": "1"}
    events = [record["event"] for record in audit.read()]
    assert events == ["promoted", "promoted", "rolled_back", "rolled_back"]


def test_worse_version_is_refused_with_numbers_and_nothing_moves(registry, audit):
    promote(registry, "m", "1", GATES, audit)
    with pytest.raises(GateError) as caught:
        promote(registry, "m", "3", GATES, audit)
    message = str(caught.value)
    assert "failed 2 of 2" in message
    assert "fd 60" in message
    assert "50" in message
    assert "gflops 9" in message
    assert "5" in message
    assert caught.value.exit_code == 8
    assert registry.held == {"champion": "1"}
    assert registry.tags["3", "nitrogen.gate"] == "failed"
    assert audit.read()[-1]["event"] == "refused"


def test_champion_again_is_no_move(registry, audit):
    promote(registry, "m", "1", GATES, audit)
    assert not promote(registry, "m", "1", GATES, audit).moved
    assert len(audit.read()) == 1


@pytest.mark.parametrize("reads_before_the_rival", [1, 2])
def test_champion_that_moved_meanwhile_is_not_overwritten(registry, audit, reads_before_the_rival):
    promote(registry, "m", "1", GATES, audit)
    reads = []

    def rival(target):
        reads.append(1)
        if len(reads) == reads_before_the_rival + 1:
            target.held["champion"] = "3"

    registry.before_read = rival
    with pytest.raises(GateError, match="Somebody else promoted"):
        promote(registry, "m", "2", GATES, audit)
    assert registry.held["champion"] == "3"
    assert audit.read()[-1]["event"] == "refused"


def test_rollback_without_a_previous_champion_is_refused(registry, audit):
    promote(registry, "m", "1", GATES, audit)
    with pytest.raises(GateError, match=r"got none before version 1\. Promote another version"):
        rollback(registry, "m", audit)
    assert registry.held == {"champion": "1"}


def test_champion_on_other_data_is_not_compared_with(registry, audit):
    promote(registry, "m", "2", GATES, audit)
    with pytest.raises(GateError, match="fd 50 is not <= 40"):
        promote(registry, "m", "1", GATES, audit)
    registry.data["1"] = "photographs"
    done = promote(registry, "m", "1", GATES, audit)
    assert done.moved
    assert "no champion on this data" in done.results[0].reason
    registry.metrics["1"]["fd"] = 101.0
    registry.held["champion"] = "2"
    with pytest.raises(GateError, match="fd 101 is not <= 100"):
        promote(registry, "m", "1", GATES, audit)


def test_many_promoters_at_once_leave_one_order_of_events(registry, audit):
    """Every winner started from the champion before it: nobody's promotion is lost unseen."""
    registry.metrics = {str(i): {"fd": 50.0, "gflops": 1.0} for i in range(1, 17)}

    def attempt(version):
        with contextlib.suppress(GateError):
            return promote(registry, "m", version, GATES, AuditLog(audit.path))

    with ThreadPoolExecutor(16) as pool:
        done = [result for result in pool.map(attempt, registry.metrics) if result]
    moves = [(r["from"], r["to"]) for r in audit.read() if r["event"] == "promoted"]
    assert len(moves) == len(done) >= 1
    assert moves[0][0] is None
    assert all(before[1] == after[0] for before, after in itertools.pairwise(moves))
    assert registry.held["champion"] == moves[-1][1]
    audit.check()


class Killed(BaseException):
    """As a kill -9: nothing of the process runs after it."""


@pytest.mark.parametrize("move", ["first", "second", "rollback"])
def test_a_move_that_was_cut_off_anywhere_is_finished_once(registry, tmp_path, monkeypatch, move):
    """Every write, to the registry and to the audit, in turn is the last of its process."""
    writes = [(DictRegistry, "set_alias"), (DictRegistry, "set_tag"), (AuditLog, "append"),
              (AuditLog, "intend"), (AuditLog, "settle")]  # fmt: skip
    events = {"first": ["promoted"], "second": ["promoted"] * 2}
    events["rollback"] = [*events["second"], "rolled_back"]
    expected = {"first": {"champion": "1"}, "second": {"champion": "2", "previous": "1"}}
    expected["rollback"] = {"champion": "1", "previous": "2"}

    def act(audit):
        if move == "rollback":
            # Done to its last write but for its answer: only then is another one another one.
            settled = not list(audit.path.parent.glob("*pending*"))
            if registry.held["champion"] == "2" or not settled:
                rollback(registry, "m", audit)
        else:
            promote(registry, "m", "1" if move == "first" else "2", GATES, audit)

    for last in range(1, 40):
        for after in (False, True):
            registry.held, registry.tags = {}, {}
            audit = AuditLog(tmp_path / f"{last}-{after}" / "audit.jsonl")
            for version in {"first": "", "second": "1", "rollback": "12"}[move]:
                promote(registry, "m", version, GATES, audit)
            with monkeypatch.context() as patch:
                killed = die_at(patch, writes, last, after)
                with contextlib.suppress(Killed):
                    act(audit)
            act(AuditLog(audit.path))
            assert registry.held == expected[move], (last, after)
            assert [record["event"] for record in audit.read()] == events[move], (last, after)
            audit.check()
        if not killed:
            assert last > 4, "every write was the last one once"
            return
    raise AssertionError("the kills never ended")


def die_at(patch, writes, last, after):
    """Ends the process before, or after, the write of this number; returns the kills."""
    count, killed = itertools.count(1), []

    def ending(call):
        def write(*arguments, **fields):
            fatal = next(count) == last
            if fatal and not after:
                killed.append(last)
                raise Killed
            call(*arguments, **fields)
            if fatal:
                killed.append(last)
                raise Killed

        return write

    for owner, name in writes:
        patch.setattr(owner, name, ending(getattr(owner, name)))
    return killed


def test_a_champion_without_a_record_gets_one(registry, audit):
    registry.held = {"champion": "2", "previous": "1"}
    assert not promote(registry, "m", "2", GATES, audit, actor="ada").moved
    (record,) = audit.read()
    assert (record["event"], record["from"], record["to"]) == ("found", "1", "2")
