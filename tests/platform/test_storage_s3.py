"""Files by URI on a real S3 server (tests/fixtures/s3_server.py)."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from s3_server import BUCKET, free_ports

from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.data.prepare import prepare
from nitrogen.pipelines.steps.prepare import PrepareConfig, fingerprint
from nitrogen.platform import storage, storage_s3
from nitrogen.platform.errors import DataError, StorageError

pytestmark = pytest.mark.s3

ANSWER_TIMEOUT_S = 30


@pytest.fixture
def prefix(s3_endpoint: str, request: pytest.FixtureRequest) -> str:
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
def test_what_is_absent(s3_endpoint: str, uri: str, sentence: str):
    with pytest.raises(StorageError, match=sentence):
        storage.read_bytes(uri)


def assert_one_sentence(error: StorageError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 300
