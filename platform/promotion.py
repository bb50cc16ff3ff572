"""Promotion: gates, then a compare-and-set of the aliases, and a way back.

The aliases move only if every gate passes and the champion is still the one that the candidate was
compared with. Every outcome is in the audit: a move that was cut off in its middle is finished, and
recorded, by the next promotion or rollback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.errors import GateError
from nitrogen.platform.gates import Gate, GateResult, check_gates, gates_digest, not_finite
from nitrogen.platform.registry import (
    CHAMPION,
    DATA_TAG,
    GATE_TAG,
    PREVIOUS,
    ModelVersion,
    Registry,
)


@dataclass(frozen=True)
class Promotion:
    """What a promotion or rollback did; `moved` is False if the version was champion already."""

    model: str
    from_version: str | None
    to_version: str
    moved: bool
    results: tuple[GateResult, ...] = ()


def promote(
    registry: Registry,
    name: str,
    version: str,
    gates: Sequence[Gate],
    audit: AuditLog,
    *,
    actor: str | None = None,
) -> Promotion:
    """Make `version` the champion if all gates pass; the old champion becomes `previous`.

    Raises: GateError naming the failed gates with their numbers, or the metrics that are not
    finite, whether a gate reads them or not, or saying that the champion moved in the meantime. In
    every case no alias has moved, and the audit says so.
    """
    finish_cut_off(registry, audit)
    current = registry.alias(name, CHAMPION)
    candidate = registry.get(name, version)
    if current == version:
        return _already(registry, candidate, gates, audit, actor)
    champion = registry.get(name, current) if current is not None else None
    results = check_gates(candidate.metrics, _comparable(candidate, champion), gates)
    record: dict[str, Any] = {
        "actor": actor,
        "from_version": current,
        "to_version": version,
        "gates_digest": gates_digest(gates),
        "details": {"digest": candidate.digest, "gates": [result.reason for result in results]},
    }
    refusal = _refusal(candidate, current, results)
    if refusal is not None:
        registry.set_tag(name, version, GATE_TAG, "failed")
        audit.append("refused", name, **record)
        raise GateError(refusal)
    with audit.exclusive():
        audit.intend("promoted", name, **record)
        try:
            _compare_and_set(registry, name, expected=current, version=version)
        except GateError as error:
            audit.append("refused", name, **{**record, "details": {"conflict": str(error)}})
            audit.settle()
            raise
        registry.set_tag(name, version, GATE_TAG, "passed")
        audit.append("promoted", name, **record)
        audit.settle()
    return Promotion(name, current, version, moved=True, results=tuple(results))


def rollback(
    registry: Registry, name: str, audit: AuditLog, *, actor: str | None = None
) -> Promotion:
    """Swap `champion` and `previous`: a second rollback undoes the first, but one that finds a
    rollback cut off by a kill only finishes it.

    Raises: GateError if there is nothing to go back to or the champion moved in the meantime.
    """
    finished = finish_cut_off(registry, audit)
    if finished is not None and (finished["event"], finished["model"]) == ("rolled_back", name):
        return Promotion(name, finished["from_version"], finished["to_version"], moved=True)
    with audit.exclusive():
        aliases = registry.aliases(name)
        current, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if previous is None or previous == current:
            raise GateError(
                f"model {name!r} must have a previous champion to roll back to, got none before "
                f"{'any' if current is None else f'version {current}'}. Promote another version "
                "first: a run with other settings registers one."
            )
        record: dict[str, Any] = {
            "actor": actor,
            "from_version": current,
            "to_version": previous,
        }
        audit.intend("rolled_back", name, **record)
        try:
            _compare_and_set(registry, name, expected=current, version=previous)
        except GateError:
            audit.settle()
            raise
        audit.append("rolled_back", name, **record)
        audit.settle()
    return Promotion(name, current, previous, moved=True)


def finish_cut_off(registry: Registry, audit: AuditLog) -> dict[str, Any] | None:
    """Finish the move that a killed process had begun, if there is one: it happened when the
    champion is the new one, else it did not. Returns {event, model, from_version, to_version, ...}
    of a move that happened."""
    with audit.exclusive():
        begun = audit.intended()
        if begun is None:
            audit.settle()
            return None
        move, recorded = begun
        name, details = (
            move["model"],
            {k: v for k, v in move.items() if k not in ("event", "model")},
        )
        happened = recorded or registry.alias(name, CHAMPION) == move["to_version"]
        if happened and not recorded:
            if move["from_version"] is not None:
                registry.set_alias(name, PREVIOUS, move["from_version"])
            if move["event"] == "promoted":
                registry.set_tag(name, move["to_version"], GATE_TAG, "passed")
            audit.append(move["event"], name, **details)
        audit.settle()
        return move if happened else None


def _refusal(
    candidate: ModelVersion, current: str | None, results: Sequence[GateResult]
) -> str | None:
    """Why the candidate is refused; None if every gate passes and all its metrics are numbers."""
    found = {metric: not_finite(value) for metric, value in candidate.metrics.items()}
    broken = [f"{metric} {value}" for metric, value in found.items() if value is not None]
    if broken:
        return (
            f"version {candidate.version} of model {candidate.name!r} must have finite metrics, "
            f"got {', '.join(broken)}. The champion stays {_named(current)}; evaluate the "
            "candidate again, and train it again if that repeats."
        )
    failed = [result.reason for result in results if not result.passed]
    if failed:
        return (
            f"version {candidate.version} of model {candidate.name!r} must pass every gate, "
            f"failed {len(failed)} of {len(results)}: {'; '.join(failed)}. "
            f"The champion stays {_named(current)}; improve the candidate or change the gate."
        )
    return None


def _already(
    registry: Registry,
    champion: ModelVersion,
    gates: Sequence[Gate],
    audit: AuditLog,
    actor: str | None,
) -> Promotion:
    """What to say of a version that is champion already: how it compares with the one before."""
    name, version = champion.name, champion.version
    previous = registry.alias(name, PREVIOUS)
    before = registry.get(name, previous) if previous is not None else None
    results = check_gates(champion.metrics, _comparable(champion, before), gates)
    if not any(record["model"] == name and record["to"] == version for record in audit.read()):
        # Moved by another machine, or by one whose audit was lost: no move goes without a record.
        audit.append("found", name, actor=actor, from_version=previous, to_version=version)
    return Promotion(name, version, version, moved=False, results=tuple(results))


def _comparable(candidate: ModelVersion, champion: ModelVersion | None) -> dict[str, Any] | None:
    """The champion's metrics, unless they were measured on other data: then none."""
    if champion is None or champion.tags.get(DATA_TAG) != candidate.tags.get(DATA_TAG):
        return None
    return champion.metrics


def _compare_and_set(registry: Registry, name: str, expected: str | None, version: str) -> None:
    # MLflow has no conditional update. The audit's lock serialises this machine; reading the alias
    # right before and after the write finds a rival elsewhere.
    # The champion first: whoever is killed in between has moved or has not, and the audit knows
    # from where.
    _require_champion(registry, name, expected)
    registry.set_alias(name, CHAMPION, version)
    _require_champion(registry, name, version)
    if expected is not None:
        registry.set_alias(name, PREVIOUS, expected)


def _require_champion(registry: Registry, name: str, expected: str | None) -> None:
    found = registry.alias(name, CHAMPION)
    if found != expected:
        raise GateError(
            f"champion of model {name!r} must still be {_named(expected)}, got {_named(found)}. "
            "Somebody else promoted in the meantime; compare with the new champion and try again."
        )


def _named(version: str | None) -> str:
    return "none" if version is None else f"version {version}"
