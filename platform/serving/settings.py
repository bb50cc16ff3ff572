"""What the operator chooses about an endpoint; every limit is bounded by default."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nitrogen.platform.autoscaling import Bounds

DEFAULT_GENERATOR = "nitrogen.pipelines.generator:load_generator"


class ServingSettings(BaseModel):
    """Settings of one Serve application.

    generator               import path of the function that loads a bundle directory
    generator_options       its keyword arguments; of ours: device, precision (fp32, bf16)
    num_cpus, num_gpus      of one replica; a CUDA replica needs num_gpus > 0
    target_ongoing_requests wished number of requests per replica, running and waiting
    max_ongoing_requests    how many a replica takes at once (one is sampled, the others wait)
    max_queued_requests     how many wait at the ingress before 503 with Retry-After
    request_timeout_s       deadline of a request, queueing included
    upscale_delay_s, downscale_delay_s   how long the load must last before replicas change
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    app_name: str = Field("nitrogen", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    generator: str = DEFAULT_GENERATOR
    generator_options: dict[str, Any] = Field(default_factory=dict)
    num_cpus: float = Field(1.0, gt=0, le=256)
    num_gpus: float = Field(0.0, ge=0, le=16)
    min_replicas: int = Field(1, ge=1, le=1000)
    max_replicas: int = Field(1, ge=1, le=1000)
    target_ongoing_requests: float = Field(2.0, gt=0, le=1000)
    max_ongoing_requests: int = Field(4, ge=1, le=1000)
    max_queued_requests: int = Field(32, ge=1, le=100_000)
    request_timeout_s: float = Field(60.0, gt=0, le=3600)
    upscale_delay_s: float = Field(10.0, ge=0, le=3600)
    downscale_delay_s: float = Field(120.0, ge=0, le=3600)

    @model_validator(mode="after")
    def _replicas_in_order(self) -> "ServingSettings":
        Bounds(self.min_replicas, self.max_replicas, self.target_ongoing_requests)
        return self
