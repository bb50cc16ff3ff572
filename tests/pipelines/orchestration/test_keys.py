"""Step keys: what changes them, what does not, and the explanation."""

from __future__ import annotations

import sys

import pytest

from nitrogen.kernels.cpu import build
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.executor import ExecutorConfig
from nitrogen.pipelines.keys import explain, key_of, key_parts
from nitrogen.pipelines.step_table import config_class


def parts_of(pipeline, step="train", *, seed=0, executor=None, inputs=None, **config):
    spec = pipeline.steps[step]
    return key_parts(
        spec,
        config_class(spec)(**config),
        seed=seed,
        executor=executor or ExecutorConfig(kind="local"),
        inputs=inputs or {"prepare": "digest-a"},
    )


def test_equal_parts_give_equal_keys(pipeline):
    assert key_of(parts_of(pipeline)) == key_of(parts_of(pipeline))
    assert len(key_of(parts_of(pipeline))) == 64


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gating_penalty": 0.3}, "gating_penalty 0.1 -> 0.3"),
        ({"seed": 7}, "seed 0 -> 7"),
        ({"inputs": {"prepare": "digest-b"}}, "result of prepare changed"),
        (
            {"executor": ExecutorConfig(kind="embedded", num_workers=2)},
            "executor.num_workers 1 -> 2",
        ),
        ({"executor": ExecutorConfig(kind="local", precision="bf16")}, "executor.precision"),
    ],
)
def test_a_change_makes_another_key_and_is_named(pipeline, change, reason):
    old, new = parts_of(pipeline), parts_of(pipeline, **change)
    assert key_of(old) != key_of(new)
    assert any(reason in line for line in explain(old, new))


def test_settings_that_do_not_change_results_do_not_change_the_key(pipeline):
    small = ExecutorConfig(kind="embedded", object_store_mb=100, num_cpus=1)
    large = ExecutorConfig(kind="embedded", object_store_mb=900, num_cpus=2)
    assert parts_of(pipeline, executor=small) == parts_of(pipeline, executor=large)


def test_an_unseeded_step_ignores_seed_and_executor(pipeline):
    one = parts_of(pipeline, "prepare", seed=1, inputs={})
    two = parts_of(pipeline, "prepare", seed=2, executor=ExecutorConfig(), inputs={})
    assert key_of(one) == key_of(two)


def test_the_code_of_imported_modules_counts(pipeline):
    old = parts_of(pipeline)
    pipeline.edit("maths", "2 * 8", "3 * 8")
    new = parts_of(pipeline)
    assert key_of(old) != key_of(new)
    assert explain(old, new) == [f"code changed: {pipeline.package}.maths"]


def test_comments_and_docstrings_do_not_count(pipeline):
    old = parts_of(pipeline)
    pipeline.edit("maths", "DOUBLE = 2 * 8", "# a remark\nDOUBLE = 2 * 8")
    pipeline.edit("train", '"""Weights out."""', '"""The weights go out."""')
    assert parts_of(pipeline) == old


def test_a_library_version_counts(pipeline, monkeypatch):
    from nitrogen.pipelines import keys

    old = parts_of(pipeline)
    monkeypatch.setattr(keys, "_locked", lambda: (("torch", "9.9"),))
    new = parts_of(pipeline)
    assert key_of(old) != key_of(new)
    assert any(line.startswith("torch ") and '"9.9"' in line for line in explain(old, new))


def test_another_registry_makes_another_key_for_steps_that_use_it(pipeline):
    from dataclasses import replace

    spec = pipeline.steps["evaluate"]
    config = config_class(spec)()
    facts = {"seed": 0, "executor": ExecutorConfig(), "inputs": {"train": "a"}}
    uri = "http://user:longpassword@mlflow.example"
    assert key_parts(spec, config, **facts) == key_parts(spec, config, **facts, registry=uri)
    registering = replace(spec, uses_registry=True)
    old = key_parts(registering, config, **facts)
    new = key_parts(registering, config, **facts, registry=uri)
    assert key_of(old) != key_of(new)
    assert explain(old, new)[0].startswith("registry absent -> ")
    assert "longpassword" not in str(new)


def test_a_step_can_name_what_it_reads_from_outside(pipeline):
    old = parts_of(pipeline)
    module = sys.modules[f"{pipeline.package}.train"]
    module.fingerprint = lambda config: {"files": "abc"}
    new = parts_of(pipeline)
    assert key_of(old) != key_of(new)
    assert explain(old, new) == ['source.files absent -> "abc"']


def test_code_digest_follows_lazy_imports_and_import_paths(tmp_path, monkeypatch):
    folder = tmp_path / "nested_code"
    folder.mkdir()
    (folder / "root.py").write_text(
        "def run():\n    from nested_code import lazy\n    import nested_code.dotted\n"
        "PATH = 'nitrogen.platform.storage:read_bytes'\nimport os, json\n"
    )
    (folder / "lazy.py").write_text("from nested_code.deep import value\n")
    (folder / "deep.py").write_text("value = 1\n")
    (folder / "dotted.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = set(code_digests("nested_code.root"))
    assert {f"nested_code.{name}" for name in ("root", "lazy", "deep", "dotted")} <= found
    assert "nitrogen.platform.storage" in found
    assert "os" not in found
    assert "nested_code.deep.value" not in found
    assert "nitrogen.platform.errors" not in found


def test_the_code_of_a_kernel_is_its_cpp_too():
    found = code_digests("nitrogen.kernels.providers")
    assert {"cpu/gemm.h", "cpu/row_mlp.cpp"} <= set(found)


def test_a_result_of_plain_pytorch_does_not_stand_for_one_of_the_cpp(pipeline, monkeypatch):
    monkeypatch.setattr(build, "usable_compiler", lambda: "g++")
    old = parts_of(pipeline), parts_of(pipeline, "prepare", inputs={})
    monkeypatch.undo()
    monkeypatch.setenv(build.OFF, "0")
    new = parts_of(pipeline), parts_of(pipeline, "prepare", inputs={})
    assert key_of(old[0]) != key_of(new[0])
    assert explain(old[0], new[0]) == ['kernels "C++" -> "plain PyTorch"']
    assert key_of(old[1]) == key_of(new[1])  # prepare computes nothing with them
