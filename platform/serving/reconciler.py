"""Keeps an endpoint at the registry's champion: observe, decide, move, report.

Whoever moves the alias (promote, rollback, a person in MLflow) moves the endpoint. A champion that
does not verify or does not load is refused once, with the reason in the audit, and the endpoint
stays where it is until the alias moves again.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.errors import NitrogenError, TrackingError
from nitrogen.platform.registry import CHAMPION, Registry
from nitrogen.platform.serving.endpoint import MoveResult
from nitrogen.platform.serving.replica import ModelRef

logger = logging.getLogger("ray.serve")


class Movable(Protocol):
    """What the reconciler needs of an Endpoint."""

    def model(self) -> ModelRef | None: ...

    def move(self, model: ModelRef) -> MoveResult: ...


@dataclass(frozen=True)
class Reconciliation:
    """`version` is the champion that was looked at; `reason` one sentence."""

    action: Literal["none", "moved", "refused"]
    version: str | None
    reason: str


class Reconciler:
    """Compares the champion of `name` with what `endpoint` serves; `cache` holds bundles."""

    def __init__(
        self,
        registry: Registry,
        endpoint: Movable,
        name: str,
        cache: Path | str,
        audit: AuditLog | None = None,
    ) -> None:
        self._registry = registry
        self._endpoint = endpoint
        self._name = name
        self._cache = Path(cache)
        self._audit = audit
        self._refused: tuple[str, str] | None = None

    def reconcile(self) -> Reconciliation:
        """One round. Raises: TrackingError if the registry cannot be reached (nothing moves)."""
        champion = self._registry.alias(self._name, CHAMPION)
        if champion is None:
            return Reconciliation("none", None, f"model {self._name!r} has no champion yet")
        serving = self._endpoint.model()
        if serving is not None and (serving.name, serving.version) == (self._name, champion):
            self._refused = None
            return Reconciliation("none", champion, f"version {champion} is served already")
        if self._refused is not None and self._refused[0] == champion:
            reason = f"version {champion} was refused before: {self._refused[1]}"
            return Reconciliation("none", champion, reason)
        try:
            result = self._endpoint.move(champion_ref(self._registry, self._name, self._cache))
        except TrackingError:
            raise
        except NitrogenError as error:
            result = MoveResult(moved=False, reason=str(error))
        return self._report(serving, champion, result)

    def _report(
        self, serving: ModelRef | None, champion: str, result: MoveResult
    ) -> Reconciliation:
        before = serving.version if serving is not None else None
        if result.moved:
            self._refused = None
            done = Reconciliation("moved", champion, f"moved from version {before} to {champion}")
        else:
            self._refused = (champion, result.reason)
            done = Reconciliation(
                "refused", champion, f"version {champion} refused: {result.reason}"
            )
        if self._audit is not None:
            self._audit.append(
                f"endpoint_{done.action}",
                self._name,
                actor="reconciler",
                from_version=before,
                to_version=champion,
                details={"reason": done.reason},
            )
        return done

    def watch(
        self,
        should_stop: Callable[[], bool],
        interval_s: float = 2.0,
        on_change: Callable[[Reconciliation], None] | None = None,
    ) -> None:
        """Reconcile until `should_stop`; a registry that is away is waited for."""
        away = False
        while not should_stop():
            try:
                done = self.reconcile()
                away = False
                if done.action != "none" and on_change is not None:
                    on_change(done)
            except NitrogenError as error:
                if not away:
                    logger.warning("the endpoint stays as it is: %s", error)
                away = True
            time.sleep(interval_s)


def champion_ref(registry: Registry, name: str, cache: Path | str) -> ModelRef:
    """The champion as a reference whose bundle was fetched and verified on this machine.

    Raises: TrackingError if there is no champion, BundleError if its bundle is damaged.
    """
    version = registry.get(name, CHAMPION)
    directory = registry.download(name, version.version, cache)
    return ModelRef(
        name=name,
        version=version.version,
        digest=version.digest,
        source=str(directory),
        tracking_uri=registry.tracking_uri,
        cache=str(cache),
    )
