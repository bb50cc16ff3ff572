"""A model on disk: config.json beside weights in safetensors, which nothing ever unpickles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from nitrogen.model.config import ArchConfig
from nitrogen.model.config_file import CONFIG, FORMAT, read_config, write_config
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import WeightsError
from nitrogen.model.predictor import Predictor
from nitrogen.model.price_table import PriceTable
from nitrogen.model.relay import Relay, late_arch
from nitrogen.model.weights import load_into, load_tensors, prefixed, save_tensors
from nitrogen.model.width_table import WidthTable

WEIGHTS, LATE_WEIGHTS = "model.safetensors", "late.safetensors"
SEAL = "manifest.json"  # of a bundle


@dataclass(frozen=True)
class Stored:
    """What a model directory holds; a Pipeline's own parts, by their names."""

    denoiser: Denoiser
    classes: tuple[str, ...]
    predictor: Predictor | None = None
    prices: PriceTable | None = None
    schedules: WidthTable | None = None
    relay: Relay | None = None


def write_model(
    directory: Path, stored: Stored, dtype: torch.dtype, facts: dict[str, Any]
) -> None:  # fmt: skip
    """Weights, then config.json; facts are kept beside the configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = prefixed("denoiser.", stored.denoiser.state_dict())
    if stored.predictor:
        tensors |= prefixed("predictor.", stored.predictor.state_dict())
    save_tensors(directory / WEIGHTS, tensors, dtype)
    content: dict[str, Any] = {
        "format": FORMAT,
        "arch": stored.denoiser.arch.model_dump(mode="json"),
        "classes": list(stored.classes),
        "predictor": stored.predictor is not None,
        "facts": facts,
    }
    if stored.prices is not None:
        content["prices"] = stored.prices.to_json()
    if stored.schedules is not None:
        content["schedules"] = stored.schedules.to_json()
    if relay := stored.relay:
        late = prefixed("denoiser.", relay.late.state_dict())
        save_tensors(directory / LATE_WEIGHTS, late, dtype)
        content["relay"] = relay.to_json()
    write_config(directory / CONFIG, content)


def read_model(directory: Path) -> Stored:
    """What `write_model` wrote. Raises WeightsError."""
    content = read_config(directory / CONFIG)
    try:
        arch, classes = ArchConfig(**content["arch"]), content["classes"]
        has_predictor = bool(content["predictor"])
    except (KeyError, TypeError, ValidationError) as error:
        raise WeightsError(
            f"config.json must describe a model, got {directory / CONFIG} ({error}). "
            "Restore the file."
        ) from None
    tensors = load_tensors(directory / WEIGHTS)
    denoiser = Denoiser(arch)
    predictor = Predictor(arch) if has_predictor else None
    with torch.no_grad():
        load_into(denoiser, tensors, "denoiser.")
        if predictor:
            load_into(predictor, tensors, "predictor.")
    prices = PriceTable.from_json(content["prices"]) if "prices" in content else None
    schedules = WidthTable.from_json(content["schedules"]) if "schedules" in content else None
    relay = None
    if "relay" in content:
        relay = load_relay(late_weights(directory), arch, content["relay"])
    return Stored(denoiser, classes, predictor, prices, schedules, relay)


def load_relay(weights: Path, arch: ArchConfig, content: Any) -> Relay:
    """weights: of the network that takes the last steps; arch: of the one that begins; content:
    `relay` of config.json. Raises WeightsError."""
    relay = Relay.from_json(content, Denoiser(late_arch(arch)))
    with torch.no_grad():
        load_into(relay.late, load_tensors(weights), "denoiser.")
    return relay


def late_weights(directory: Path) -> Path:
    """The file of the network that takes the last steps: in the directory, or that of the teacher
    that lies beside it. A sealed bundle has its own: nobody vouches for what is outside it."""
    own = directory / LATE_WEIGHTS
    if own.is_file() or (directory / SEAL).exists():
        return own
    return directory.parent / "teacher" / WEIGHTS
