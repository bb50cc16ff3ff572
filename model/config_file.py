"""config.json beside a model's weights: JSON of bounded size, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from nitrogen.model.errors import WeightsError
from nitrogen.model.price_table import PriceTable
from nitrogen.model.relay import Relay
from nitrogen.model.width_table import WidthTable

CONFIG, FORMAT = "config.json", 1
MAX_CONFIG_BYTES = 1 << 20


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size. Raises WeightsError."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise WeightsError(f"config.json must be under 1 MiB, got {path}. Restore the file.")
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise WeightsError(
            f"a model must have a config.json, got no file {path}. Name a model's directory."
        ) from None
    except (OSError, RecursionError, ValueError) as error:
        raise WeightsError(f"config.json must be JSON, got {path} ({error}).") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"config.json must be of format {FORMAT}, got {path}.")
    return content


def write_config(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


def write_prices(directory: Path, prices: PriceTable) -> None:
    """Lays prices beside the weights of a saved model."""
    content = read_config(directory / CONFIG)
    write_config(directory / CONFIG, content | {"prices": prices.to_json()})


def write_relay(directory: Path, relay: Relay) -> None:
    """Lays a relay, its prices with it, beside the weights of a saved model that has one."""
    content = read_config(directory / CONFIG)
    write_config(directory / CONFIG, content | {"relay": relay.to_json()})


def write_schedules(directory: Path, schedules: WidthTable) -> None:
    """Lays schedules of widths beside the weights of a saved model."""
    content = read_config(directory / CONFIG)
    write_config(directory / CONFIG, content | {"schedules": schedules.to_json()})
