"""The champion of a run's registry: promote another version to it, or roll it back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.pipelines.services import tracking_uri
from nitrogen.pipelines.trained_models import newest_run, recipe_of
from nitrogen.platform.errors import ConfigError, TrackingError

if TYPE_CHECKING:
    from nitrogen.platform.audit import AuditLog
    from nitrogen.platform.promotion import Promotion
    from nitrogen.platform.registry import Registry


@dataclass(frozen=True)
class ModelSource:
    """The registered model of a run: its name, its registry, and the recipe it came from."""

    run: Path
    recipe: Any
    name: str
    uri: str

    def registry(self) -> Registry:
        from nitrogen.platform.registry import Registry

        return Registry(self.uri)

    def local_folder(self) -> Path:
        """Where the audit and the fetched bundles of this registry lie."""
        from nitrogen.platform.registry import local_folder

        return local_folder(self.uri)

    def audit(self) -> AuditLog:
        from nitrogen.platform.audit import AuditLog

        return AuditLog(self.local_folder() / "audit.jsonl")


def model_source(run: Path | None) -> ModelSource:
    """The model of a run, of the newest one when none is named; ConfigError when there is none."""
    run = run or newest_run()
    if run is None:
        raise ConfigError(
            "--run must name a run folder when runs/ holds none with a champion. "
            "Make one with `nitrogen run demo`."
        )
    recipe = recipe_of(run)
    name = getattr(recipe.section("promote"), "model_name", None) or recipe.name
    return ModelSource(Path(run), recipe, name, tracking_uri(recipe, run))


def promote_version(run: Path | None, version: str | None) -> Promotion:
    """Promote a version (the newest by default) through the gates of the run's recipe."""
    from nitrogen.platform.promotion import promote

    source = model_source(run)
    registry = source.registry()
    if version is None:
        known = registry.versions(source.name)
        if not known:
            raise TrackingError(
                f"model {source.name!r} must have a version to promote, got none. "
                "Run the recipe until promote."
            )
        version = known[0].version
    gates = source.recipe.section("promote").gates
    return promote(registry, source.name, version, gates, source.audit())


def roll_back(run: Path | None) -> Promotion:
    """Make the previous champion the champion again."""
    from nitrogen.platform.promotion import rollback

    source = model_source(run)
    return rollback(source.registry(), source.name, source.audit())
