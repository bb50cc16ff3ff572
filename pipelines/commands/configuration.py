"""`config show`, `config schema` and `doctor`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands.output import JsonOption, say, say_json
from nitrogen.pipelines.commands.running import RecipeArgument, SetOption

_CONFIG = typer.Typer(
    no_args_is_help=True,
    help="Look at recipes.",
    rich_markup_mode=None,
    epilog="Example: nitrogen config show demo",
)


def register(app: typer.Typer) -> None:
    _CONFIG.command("show", epilog="Example: nitrogen config show demo --set seed=1")(show)
    _CONFIG.command("schema", epilog="Example: nitrogen config schema > recipe.schema.json")(schema)
    app.add_typer(_CONFIG, name="config")
    app.command("doctor", epilog="Example: nitrogen doctor --json")(doctor)


def show(
    recipe: RecipeArgument = "demo", overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Print the resolved recipe as YAML, and where each value came from."""
    from nitrogen.pipelines.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    values = loaded.recipe.canonical()
    if as_json:
        say_json(
            {
                "recipe": values,
                "origins": dict(loaded.origins),
                "path": str(loaded.path),
                "digest": loaded.recipe.digest(),
            }
        )
        return
    say(f"# {loaded.path}, sha256 {loaded.recipe.digest()[:12]}")
    _print_values(values, loaded.origins, "", 0)


def _print_values(values: dict[str, Any], origins: Any, prefix: str, depth: int) -> None:
    import json

    for key, value in values.items():
        path = f"{prefix}{key}"
        indent = "  " * depth
        if isinstance(value, dict) and value:
            say(f"{indent}{key}:")
            _print_values(value, origins, f"{path}.", depth + 1)
        else:
            # JSON is YAML: text quoted, lists in one line, null.
            line = f"{indent}{key}: {json.dumps(value)}"
            say(f"{line:<52}  # {origins.get(path, 'default')}")


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from nitrogen.pipelines.recipe import recipe_class

    say_json(recipe_class().model_json_schema())


def doctor(
    as_json: JsonOption = False,
    port: Annotated[
        list[int] | None, typer.Option("--port", help="Port that must be free (repeatable).")
    ] = None,
) -> None:
    """Check this machine: versions, cores, memory, disk, ports, authentication, MLflow, GPU.

    Exit code 1 when a check fails; warnings leave it at 0.
    """
    from nitrogen.pipelines.doctor import examine
    from nitrogen.pipelines.doctor_setup import DEFAULT_PORTS

    checks = examine(ports=tuple(port or DEFAULT_PORTS))
    failed = any(check.status == "FAIL" for check in checks)
    if as_json:
        say_json({"ok": not failed, "checks": [check.row() for check in checks]})
    else:
        for check in checks:
            say(f"{check.status:<4}  {check.name}: {check.detail}")
            if check.fix:
                say(f"      {check.fix}")
    if failed:
        raise typer.Exit(1)
