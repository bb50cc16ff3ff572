"""The application of a Serve config file refuses what it cannot serve, before anything starts."""

import pytest

from nitrogen.platform.errors import ConfigError
from nitrogen.platform.serving.configured import application


@pytest.mark.parametrize(
    "args", [{}, {"model": "m"}, {"model": "m", "tracking_uri": "sqlite:///x", "typo": 1}]
)
def test_missing_and_unknown_arguments(args, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="args must have model"):
        application(args)


def test_an_open_endpoint_without_keys_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("NITROGEN_API_KEYS", raising=False)
    with pytest.raises(ConfigError):
        application({"model": "m", "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
