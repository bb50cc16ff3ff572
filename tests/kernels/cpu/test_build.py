"""Building once, falling back loudly, and weights that change under the packed copy."""

import logging
import multiprocessing
import subprocess
from functools import partial

import pytest
import torch

from nitrogen.kernels import dispatch
from nitrogen.kernels.copies import Copies
from nitrogen.kernels.cpu import build, library, packing
from nitrogen.kernels.plan import every_row
from nitrogen.kernels.providers import EAGER, provider

needs_library = pytest.mark.skipif(not library.cpu_available(), reason="no compiler, no AVX2")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and `load` as if called for the first time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    yield tmp_path / "nitrogen"
    library.load.cache_clear()


def test_what_can_be_built_is_built():
    """Every other test of the C++ is skipped where it is off: its sources must not be why."""
    try:
        build.usable_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    found, why = library.load()
    assert found is not None, why


def test_without_a_compiler_plain_pytorch_runs_and_says_so_once(cache, monkeypatch, caplog):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    args = (torch.randn(4, 8), torch.randn(1, 8), torch.randn(4, 8), 4)
    with caplog.at_level(logging.WARNING):
        assert provider("gated_add", args) is EAGER["gated_add"]
        assert provider("gated_add", args) is EAGER["gated_add"]
    assert [r.message for r in caplog.records] == [
        "CPU kernels are off and sampling is slower: there is no C++ compiler (install g++, or set "
        "CXX)."
    ]


def test_a_failing_compiler_leaves_nothing_behind(cache, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
    with pytest.raises(build.BuildError, match=r"failed: .*no-such-flag"):
        build.library_path()
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_can_be_switched_off(cache, monkeypatch):
    monkeypatch.setenv(library.OFF, "0")
    assert library.load()[0] is None
    assert not cache.exists()


def _path(_):
    return str(build.library_path())


@needs_library
def test_two_processes_build_it_once(cache, monkeypatch):
    def counted(path, compiler):
        with (cache / "builds").open("a") as builds:
            builds.write("x")
        path.write_bytes(b"a library")

    monkeypatch.setattr(build, "compile_to", counted)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert len(set(pool.map(_path, range(4)))) == 1
    assert (cache / "builds").read_text() == "x"


@needs_library
def test_the_key_covers_sources_flags_and_compiler(tmp_path, monkeypatch):
    before = build.digest("g++")
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    assert build.digest("g++") != before
    monkeypatch.undo()
    source = tmp_path / "a.cpp"
    source.write_text("// other")
    monkeypatch.setattr(build, "files", lambda: [source])
    assert build.digest("g++") != before


@needs_library
@torch.no_grad()
def test_weights_written_in_place_are_packed_anew():
    x, weight, bias = torch.randn(5, 8), torch.nn.Parameter(torch.randn(6, 8)), torch.zeros(6)
    torch.testing.assert_close(dispatch.linear(x, weight, bias), x @ weight.t())
    weight.mul_(2)
    bias.add_(1)
    torch.testing.assert_close(dispatch.linear(x, weight, bias), x @ weight.t() + 1)
    weight.data = torch.ones(6, 8)
    torch.testing.assert_close(dispatch.linear(x, weight, bias), x @ weight.t() + 1)


@needs_library
@torch.no_grad()
@pytest.mark.parametrize("num", [64, 192, 1024])
def test_another_tensor_in_the_memory_of_the_old_one_is_packed_anew(num):
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    x, weight = torch.randn(5, num), torch.nn.Parameter(torch.randn(num, num) / num)
    for _ in range(3):  # freed memory is handed out again
        close(dispatch.linear(x, weight, None), x @ weight.t())
        weight.data = weight.data * 2
    layer = torch.nn.Linear(num, num, bias=False)
    dispatch.linear(x, layer.weight, None)
    layer.half().float()
    close(dispatch.linear(x, layer.weight, None), x @ layer.weight.t())


@needs_library
def test_packed_weights_die_with_their_source():
    packed, weight = Copies(packing.LAYOUTS), torch.randn(6, 8)
    first = packed.get(weight, "panels")
    assert packed.get(weight, "panels") is first
    del weight
    assert not packed._entries


@needs_library
@torch.no_grad()
def test_offsets_beyond_32_bits(tmp_path):
    """Rows behind 2^31 floats of a sparse file: only the pages of two rows are ever touched."""
    channels, num_rows = 64, 2**25 + 2
    big = torch.from_file(
        str(tmp_path / "sparse"), shared=True, size=num_rows * channels, dtype=torch.float32
    ).view(num_rows, channels)
    rows = torch.tensor([num_rows - 1])
    counts = torch.tensor([num_rows - 1, 0, 0, 0, 1])
    weights = torch.randn(128, 64) / 8, torch.randn(128), torch.randn(64, 128) / 8, torch.randn(64)
    big[-1] = torch.randn(channels)
    small = big[-1:].clone()
    expected = dispatch.row_mlp(small, weights, every_row(1, small.device), 32, small.clone())
    provider("row_mlp", (big,))(big, *weights, rows, counts, 32, big)
    assert torch.equal(big[-1:], expected)
    blocks = subprocess.run(["stat", "-c", "%b", tmp_path / "sparse"], capture_output=True)
    assert int(blocks.stdout) < 2048  # half-kilobyte blocks: the file has stayed sparse
