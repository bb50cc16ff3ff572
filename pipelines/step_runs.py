"""The MLflow runs of a run: one for the recipe, and below it one for each step."""

from __future__ import annotations

from nitrogen.pipelines.recipe import Recipe
from nitrogen.pipelines.revision import commit
from nitrogen.pipelines.services import RunServices


class StepRuns:
    """Starts and ends them. Each has a key, under which a resumed run finds its own again.

    identity  keeps two run folders apart that share a server
    """

    def __init__(self, recipe: Recipe, services: RunServices, identity: str) -> None:
        self._recipe, self._services, self._identity = recipe, services, identity
        self._parent: str | None = None

    def start(self, step: str, key: str, attempt: str) -> str | None:
        """The step's run: made before the work starts, found again when it resumes; None while the
        server is away."""
        tags = {"nitrogen.recipe": self._recipe.name, "nitrogen.commit": commit() or "unknown"}
        if self._parent is None:
            self._parent = self._of_the_recipe(tags)
        run_key = f"{step}-{key[:12]}-{attempt}-{self._identity}"
        tags = {**tags, "nitrogen.step": step, "nitrogen.step_key": key}
        run_id = self._services.start_run(run_key, step, self._parent, tags)
        config = self._recipe.section(step).model_dump(mode="json")
        self._services.log_params(run_id, {**config, "seed": self._recipe.seed})
        return run_id

    def finish(self, run_id: str | None, status: str) -> None:
        """End a step's run as FINISHED, FAILED or KILLED."""
        self._services.finish_run(run_id, status)

    def finish_all(self, status: str) -> None:
        """End the recipe's run, if a step has started it."""
        self._services.finish_run(self._parent, status)

    def _of_the_recipe(self, tags: dict[str, str]) -> str | None:
        recipe = self._recipe
        name = f"{recipe.name}-{recipe.digest()[:8]}-{self._identity}"
        run_id = self._services.start_run(name, recipe.name, None, tags)
        self._services.log_params(run_id, recipe.canonical())
        return run_id
