"""The KubeRay manifests against the schemas of their resources, with unknown fields refused."""

import json
import lzma
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "infra" / "kuberay"
SCHEMAS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices"}


def documents() -> list[Any]:
    found = []
    for path in sorted(KUBERAY.glob("*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            found.append(pytest.param(document, id=f"{path.name}-{number}"))
    return found


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused wherever fields are listed."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get(
        "x-kubernetes-preserve-unknown-fields"
    ):
        result.setdefault("additionalProperties", False)
    return result


def schema_of(kind: str) -> Any:
    packed = Path(__file__).parent / "crds" / f"{SCHEMAS[kind]}.json.xz"
    schema = strict(json.loads(lzma.decompress(packed.read_bytes())))
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def errors_in(document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema_of(document["kind"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


ours = [p for p in documents() if p.values[0]["kind"] in SCHEMAS]


def test_all_three_kinds_are_there():
    assert {p.values[0]["kind"] for p in ours} == set(SCHEMAS)


@pytest.mark.parametrize("document", ours)
def test_kuberay_accepts_it(document):
    assert errors_in(document) == []


@pytest.mark.parametrize("document", ours)
def test_a_typo_would_be_refused(document):
    spec = document["spec"]
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    cluster["workerGroupSpecs"][0]["maxReplica"] = 3
    try:
        assert len(errors_in(document)) == 1
    finally:
        del cluster["workerGroupSpecs"][0]["maxReplica"]


@pytest.mark.parametrize("document", ours)
def test_token_version_and_rights(document):
    import ray

    spec = document["spec"]
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_every_pod_mounts_the_run_folders(name):
    (claim,) = [
        document["metadata"]["name"]
        for document in yaml.safe_load_all((KUBERAY / "namespace.yaml").read_text())
        if document["kind"] == "PersistentVolumeClaim"
    ]
    spec = yaml.safe_load((KUBERAY / name).read_text())["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert {"name": "runs", "mountPath": "/runs"} in pod["containers"][0]["volumeMounts"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["runs"]["persistentVolumeClaim"] == {"claimName": claim}


def test_serve_config_is_one_that_serve_accepts():
    from ray.serve.schema import ServeDeploySchema

    from nitrogen.platform.serving import configured
    from nitrogen.platform.serving.settings import ServingSettings

    service = yaml.safe_load((KUBERAY / "rayservice.yaml").read_text())
    config = ServeDeploySchema(**yaml.safe_load(service["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    assert module == configured.__name__
    assert callable(getattr(configured, name))
    assert set(application.args) <= configured.KEYS
    ServingSettings(**application.args["settings"])


def test_the_jobs_command_is_the_one_that_submit_uses():
    import shlex

    from nitrogen.platform.jobs import entrypoint

    job = yaml.safe_load((KUBERAY / "rayjob.yaml").read_text())
    words = shlex.split(job["spec"]["entrypoint"])
    expected = shlex.split(entrypoint([], "/runs/demo"))
    expected[expected.index("recipe.yaml")] = "demo"
    assert words == expected
