"""The model registry: verified bundles as MLflow model versions, with aliases and tags.

A version is a bundle logged as artifacts of a run, plus tags: its digest and its metrics. The
aliases `champion`, `challenger` and `previous` say what is served, proposed and fallen back to.
MLflow's own model flavours are not used: they unpickle.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitrogen.platform.bundles import publish_directory, verify_bundle
from nitrogen.platform.errors import BundleError, TrackingError
from nitrogen.platform.tracking import default_home
from nitrogen.platform.tracking_client import database_path, mlflow_errors, open_client

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
DIGEST_TAG = "nitrogen.digest"
METRICS_TAG = "nitrogen.metrics"
GATE_TAG = "nitrogen.gate"
POINT_TAG = "nitrogen.operating_point"  # JSON of what it was measured with: dials, steps, solver
DATA_TAG = "nitrogen.data"  # digest of the data set that the metrics were measured on
_ARTIFACT_FOLDER = "bundle"
_EXPERIMENT = "nitrogen-registry"


@dataclass(frozen=True)
class ModelVersion:
    """One registered version; `metrics` as given at registration, `source` an artifact URI."""

    name: str
    version: str
    digest: str
    source: str
    run_id: str
    metrics: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """Access to the registry behind `tracking_uri` (sqlite:///... or http(s)://...).

    All methods raise TrackingError with one sentence when the store cannot be reached.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._client: Any = None

    def register(
        self,
        bundle: Path | str,
        name: str,
        *,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
    ) -> ModelVersion:
        """Upload a verified bundle and make it a version of `name`.

        The same bundle with the same metrics is registered once: registering it again returns the
        version that exists. `run_id` is the run whose artifacts it becomes (default: a run of its
        own). Raises: BundleError, TrackingError.
        """
        digest = verify_bundle(bundle)
        measured = json.dumps(dict(metrics or {}), sort_keys=True, allow_nan=False)
        for known in self.versions(name):
            if known.digest == digest and known.tags.get(METRICS_TAG) == measured:
                return known
        with self._sentences():
            client = self._connect()
            run = self._run_for(run_id, name)
            folder = f"{_ARTIFACT_FOLDER}/{digest[:12]}"
            client.log_artifacts(run.info.run_id, str(bundle), folder)
            self._ensure_model(name)
            created = client.create_model_version(
                name,
                source=f"{run.info.artifact_uri.rstrip('/')}/{folder}",
                run_id=run.info.run_id,
                tags={**(tags or {}), DIGEST_TAG: digest, METRICS_TAG: measured},
            )
            if run_id is None:
                client.set_terminated(run.info.run_id)
        return _to_version(created)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of `name`, newest first; empty if the model does not exist."""
        with self._sentences():
            quoted = name.replace("'", "''")
            found = self._connect().search_model_versions(f"name='{quoted}'")
        versions = [_to_version(entry) for entry in found if DIGEST_TAG in entry.tags]
        return sorted(versions, key=lambda entry: int(entry.version), reverse=True)

    def get(self, name: str, reference: str | int) -> ModelVersion:
        """A version by number or alias. Raises: TrackingError if there is none."""
        version = str(reference) if str(reference).isdigit() else self.alias(name, str(reference))
        for known in self.versions(name):
            if known.version == version:
                return known
        raise TrackingError(
            f"model {name!r} must have a version or alias {str(reference)!r}, got none in the "
            "registry. Run the promote step first, or name another version."
        )

    def alias(self, name: str, alias: str) -> str | None:
        """The version number that an alias points to, or None."""
        return self.aliases(name).get(alias)

    def aliases(self, name: str) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        with self._sentences():
            try:
                model = self._connect().get_registered_model(name)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
            return {key: str(value) for key, value in model.aliases.items()}

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with self._sentences():
            self._connect().set_registered_model_alias(name, alias, version)

    def set_tag(self, name: str, version: str, key: str, value: str) -> None:
        with self._sentences():
            self._connect().set_model_version_tag(name, version, key, value)

    def download(self, name: str, reference: str | int, cache: Path | str) -> Path:
        """The verified bundle of a version, as the directory `cache/<digest>`.

        It is fetched once. What arrives is checked against its manifest and the manifest against
        the version's digest tag before it gets its name. Raises: BundleError, TrackingError.
        """
        version = self.get(name, reference)
        if len(version.digest) != 64 or not version.digest.isalnum():
            raise BundleError(
                f"version {version.version} of model {name!r} must carry a sha256 digest tag, got "
                f"{version.digest[:20]!r}. Register the bundle again."
            )
        out = Path(cache) / version.digest
        if out.is_dir():
            with contextlib.suppress(BundleError):
                verify_bundle(out, version.digest)
                return out
            shutil.rmtree(out)  # damaged on disk: fetch it anew
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=out.parent) as scratch:
            path = self._artifact_path(version)
            with self._sentences():
                fetched = self._connect().download_artifacts(version.run_id, path, scratch)
            verify_bundle(fetched, version.digest)
            publish_directory(Path(fetched), out)
        return out

    def _artifact_path(self, version: ModelVersion) -> str:
        with self._sentences():
            root = self._connect().get_run(version.run_id).info.artifact_uri.rstrip("/")
        if not version.source.startswith(f"{root}/"):
            raise BundleError(
                f"version {version.version} of model {version.name!r} must lie in the artifacts of "
                f"its run, got {version.source}. Register the bundle again."
            )
        return version.source[len(root) + 1 :]

    def _connect(self) -> Any:
        if self._client is None:
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            self._client = open_client(self.tracking_uri)
        return self._client

    def _run_for(self, run_id: str | None, name: str) -> Any:
        client = self._connect()
        if run_id is not None:
            return client.get_run(run_id)
        experiment = client.get_experiment_by_name(_EXPERIMENT)
        if experiment is None:
            location = _artifact_location(self.tracking_uri)
            experiment_id = client.create_experiment(_EXPERIMENT, artifact_location=location)
        else:
            experiment_id = experiment.experiment_id
        return client.create_run(experiment_id, run_name=f"register {name}")

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._connect().create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _sentences(self) -> contextlib.AbstractContextManager[None]:
        return mlflow_errors(self.tracking_uri)


def local_folder(tracking_uri: str) -> Path:
    """Where this machine keeps what belongs to a registry: its audit and fetched bundles.

    Beside the database of an embedded store; for a server, a folder of its own under the home.
    """
    database = database_path(tracking_uri)
    if database is not None:
        return database.absolute().parent
    digest = hashlib.sha256(tracking_uri.encode()).hexdigest()
    return default_home() / "registries" / digest[:12]


def _artifact_location(tracking_uri: str) -> str | None:
    """Artifacts of an embedded store lie beside its database, never in the working directory."""
    database = database_path(tracking_uri)
    if database is None:
        return None
    return (database.absolute().parent / "artifacts" / _EXPERIMENT).as_uri()


def _to_version(entry: Any) -> ModelVersion:
    tags = dict(entry.tags)
    return ModelVersion(
        name=entry.name,
        version=str(entry.version),
        digest=tags.get(DIGEST_TAG, ""),
        source=entry.source,
        run_id=entry.run_id or "",
        metrics=json.loads(tags.get(METRICS_TAG, "{}")),
        tags=tags,
    )
