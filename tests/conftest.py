"""What every test shares: one thread, fixed seeds, a quiet environment, no Ray unless marked.

The environment is set before torch, Ray or MLflow can be imported: all three read theirs once.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_ENVIRONMENT = {
    # Bit-equality is promised at one thread count, and two cores are shared with Ray's workers.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # What a GPU's products need where a test asks for determinism, or else they warn.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "MPLBACKEND": "Agg",
    # Unset means different things to ray.init and `ray start`. Tests of tokens set their own.
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # boto3 and pyarrow would wait seconds for a metadata service that is not there.
    "AWS_EC2_METADATA_DISABLED": "true",
    "DO_NOT_TRACK": "1",
}
# In tests/fixtures, which pyproject.toml puts on the path.
pytest_plugins = ["s3_server", "ray_clusters"]

for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# `derandomize`: the same examples on every run, so that red means the change and not the dice.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seeds every generator that is already imported."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_ray_unless_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Plain `pytest` must need no Ray: a unit test that leaves one running fails."""
    yield
    marked = any(request.node.get_closest_marker(name) for name in ("ray", "slow", "s3"))
    if not marked and (ray := sys.modules.get("ray")) and ray.is_initialized():
        ray.shutdown()
        pytest.fail("a test that starts Ray must carry @pytest.mark.ray")


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a path short enough for Ray's sockets (107 bytes in all)."""
    folder = Path(tempfile.mkdtemp(prefix="ng", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return Path(__file__).resolve().parent.parent
