"""Bundles: what is sealed verifies, and every kind of damage is refused by name."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nitrogen.platform.bundles import copy_bundle, read_manifest, verify_bundle, write_bundle
from nitrogen.platform.errors import BundleError


def safetensors(values=(1.0, 2.0), begin: int = 0) -> bytes:
    end = begin + 4 * len(values)
    entry = {"dtype": "F32", "shape": [len(values)], "data_offsets": [begin, end]}
    header = json.dumps({"w": entry}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "bundle"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(safetensors())
    (directory / "config.json").write_text('{"preset": "tiny"}')
    write_bundle(directory, {"recipe": "demo"})
    return directory


def test_sealed_bundle_verifies_and_equal_content_has_an_equal_digest(bundle, tmp_path):
    twin = tmp_path / "twin"
    twin.mkdir()
    for name in ("model.safetensors", "config.json"):
        (twin / name).write_bytes((bundle / name).read_bytes())
    digest = write_bundle(twin, {"recipe": "demo"})
    assert verify_bundle(bundle) == digest == verify_bundle(twin, digest)
    assert read_manifest(bundle).metadata == {"recipe": "demo"}
    assert write_bundle(twin, {"recipe": "other"}) != digest


def test_real_safetensors_library_agrees(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    import numpy as np

    numpy.save_file(
        {"a": np.ones((3, 2), np.float16), "b": np.zeros(0, np.float32)},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert verify_bundle(tmp_path, write_bundle(tmp_path))


def damage_missing(directory):
    (directory / "config.json").unlink()
    return "config.json"


def damage_extra(directory):
    (directory / "notes.json").write_text("{}")
    return "notes.json"


def damage_altered_json(directory):
    (directory / "config.json").write_text('{"preset": "huge"}')
    return "config.json"


def damage_longer(directory):
    with (directory / "model.safetensors").open("ab") as file:
        file.write(b"x")
    return "model.safetensors"


def damage_symlink(directory):
    target = directory.parent / "outside.safetensors"
    os.replace(directory / "model.safetensors", target)
    (directory / "model.safetensors").symlink_to(target)
    return "model.safetensors"


def damage_subfolder(directory):
    (directory / "code.json").mkdir()
    return "code.json"


def damage_pickle(directory):
    (directory / "model.pkl").write_bytes(pickle.dumps([1]))
    return "model.pkl"


def damage_hidden(directory):
    (directory / ".hidden.json").write_text("{}")
    return ".hidden.json"


def damage_no_manifest(directory):
    (directory / "manifest.json").unlink()
    return "manifest.json"


def damage_manifest_text(directory):
    (directory / "manifest.json").write_text("{not json")
    return "manifest.json"


def damage_manifest_edit(directory):
    text = (directory / "manifest.json").read_text()
    (directory / "manifest.json").write_text(text.replace("demo", "mine"))
    return "manifest.json"


def damage_fifo(directory):
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")
    return "config.json"


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_refused_by_name(bundle, damage):
    name = damage(bundle)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/b.json", "a\\b.json", ""])
def test_forged_manifest_cannot_name_a_file_elsewhere(bundle, name):
    """The forger computes a right digest, so only the check of names is left."""
    from nitrogen.platform import bundles

    body = json.loads((bundle / "manifest.json").read_text())
    body.pop("digest")
    body["files"][name] = body["files"]["config.json"]
    forged = {**body, "digest": bundles._digest(body)}
    (bundle / "manifest.json").write_text(json.dumps(forged))
    with pytest.raises(BundleError, match="file name must be plain"):
        verify_bundle(bundle)


def test_other_digest_than_registered_is_refused(bundle):
    with pytest.raises(BundleError, match="not the one that was registered"):
        verify_bundle(bundle, "0" * 64)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"w": 1}),
        b"",
        struct.pack("<Q", 1 << 60) + b"{}",
        safetensors(begin=4),
        safetensors()[:-1],
        safetensors() + b"tail",
        struct.pack("<Q", 4) + b"null" + b"1234",
        struct.pack("<Q", 9) + b'{"w": 42}',
    ],
    ids=["pickle", "empty", "huge-header", "hole", "truncated", "tail", "null", "no-entry"],
)
def test_only_safetensors_are_sealed_as_safetensors(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        write_bundle(tmp_path)
    assert not (tmp_path / "manifest.json").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255), which=st.integers(0, 1))
def test_any_flipped_byte_is_noticed(tmp_path_factory, position, flip, which):
    directory = tmp_path_factory.mktemp("flip")
    (directory / "model.safetensors").write_bytes(safetensors())
    (directory / "config.json").write_text('{"preset": "tiny"}')
    write_bundle(directory)
    path = directory / ("model.safetensors", "config.json")[which]
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= flip
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError):
        verify_bundle(directory)


def test_copy_is_whole_and_repairs_a_damaged_copy(bundle, tmp_path):
    out = tmp_path / "copies" / "one"
    digest = verify_bundle(bundle)
    assert verify_bundle(copy_bundle(bundle, out)) == digest
    (out / "config.json").write_text("{}")
    assert verify_bundle(copy_bundle(bundle, out, digest)) == digest
    assert [path.name for path in out.parent.iterdir()] == ["one"]


def test_writer_that_was_killed_leaves_no_trace(bundle):
    (bundle / ".manifest.json.abc").write_text("half")
    assert verify_bundle(bundle, write_bundle(bundle, {"recipe": "demo"}))
