"""Where the steps of a recipe run: in this process, on an embedded Ray, or on a remote cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator


class ExecutorConfig(BaseModel):
    """The `executor:` section of a recipe.

    kind `local` runs everything in this process (one worker, no Ray), `embedded` starts a Ray for
    this run and stops it afterwards, `address` connects to a running cluster.
    `device` and `use_gpu` follow each other: name one of them. With a GPU, every training worker,
    trial and replica gets one, and the pictures of sweep and evaluation are made on one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["local", "embedded", "address"] = "embedded"
    address: str | None = Field(None, description="ray address, for kind: address")
    num_workers: int = Field(2, ge=1, le=4096, description="training workers (DDP ranks)")
    num_cpus: int | None = Field(None, ge=1, description="CPUs given to the embedded Ray; all")
    object_store_mb: int = Field(256, ge=80, description="object store of the embedded Ray")
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="of training; auto: bf16 where the processor multiplies in it"
    )
    sampling_precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        validate_default=True,
        description="of the pictures of sweep, evaluation and endpoint; auto: fp32 on the CPU, "
        "whose bits are promised, and `precision` on a GPU",
    )
    use_gpu: bool = Field(
        False, description="one GPU for each training worker, trial and replica; device: cuda"
    )

    @model_validator(mode="before")
    @classmethod
    def _device_and_gpu_together(cls, values: Any) -> Any:
        """`device: cuda` alone asks for GPUs, `use_gpu: true` alone for that device."""
        if not isinstance(values, dict):
            return values
        if values.get("device") == "cuda" and "use_gpu" not in values:
            return {**values, "use_gpu": True}
        if values.get("use_gpu") is True and "device" not in values:
            return {**values, "device": "cuda"}
        return values

    @field_validator("precision", mode="before")
    @classmethod
    def _resolved(cls, value: Any, info: ValidationInfo) -> Any:
        """auto is settled here, so that step keys name what was really computed."""
        if value != "auto":
            return value
        return "bf16" if info.data.get("device") == "cuda" or has_bf16_units() else "fp32"

    @field_validator("sampling_precision", mode="before")
    @classmethod
    def _sampling_resolved(cls, value: Any, info: ValidationInfo) -> Any:
        if value != "auto":
            return value
        return info.data.get("precision") if info.data.get("device") == "cuda" else "fp32"

    @model_validator(mode="after")
    def _consistent(self) -> ExecutorConfig:
        if self.kind == "address" and not self.address:
            raise ValueError("address must be set when kind is address. Give host:port.")
        if self.kind != "address" and self.address:
            raise ValueError(
                f"kind must be address when address is set, got {self.kind}. Set kind: address."
            )
        if self.use_gpu and self.device == "cpu":
            raise ValueError("device must be cuda when use_gpu is true, got cpu. Set device: cuda.")
        if self.device == "cuda" and not self.use_gpu and self.kind != "local":
            raise ValueError(
                "use_gpu must be true when device is cuda, got false: Ray would give no worker a "
                "GPU. Leave use_gpu out, or set device: cpu."
            )
        return self

    @property
    def mode(self) -> Literal["local", "ray"]:
        """What a step branches on: in process, or through Ray."""
        return "local" if self.kind == "local" else "ray"

    @property
    def world_size(self) -> int:
        """Training workers that really run: one in process."""
        return 1 if self.kind == "local" else self.num_workers

    def facts(self, samples: bool = False) -> dict[str, Any]:
        """The settings that change the numbers a step computes, and so belong to its key.

        samples: the step makes pictures, so that their precision matters too.
        """
        return {
            "num_workers": self.world_size,
            "device": self.device,
            "precision": self.precision,
            **({"sampling_precision": self.sampling_precision} if samples else {}),
        }


def has_bf16_units() -> bool:
    """Whether this processor multiplies in bf16; elsewhere it is emulated and slower than fp32.

    Measured (EPYC with avx512_bf16, one thread, batch 64): training ran at 216 against 98 images/s
    (`small`) and 502 against 289 (`tiny`).
    """
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
