"""The audit: durable, ordered, and edits show."""

import json
import multiprocessing

import pytest

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.errors import StorageError


def test_records_keep_who_when_from_to(tmp_path):
    audit = AuditLog(tmp_path / "deep" / "audit.jsonl")
    audit.append("promoted", "m", actor="ada", from_version="1", to_version="2", gates_digest="d")
    audit.append("rolled_back", "m", from_version="2", to_version="1")
    first, second = audit.read()
    assert (first["actor"], first["from"], first["to"]) == ("ada", "1", "2")
    assert first["time"].endswith("+00:00")
    assert second["actor"]
    assert [record["sequence"] for record in (first, second)] == [1, 2]
    audit.check()


@pytest.mark.parametrize("edit", ["remove", "change", "swap"])
def test_edits_show(tmp_path, edit):
    audit = AuditLog(tmp_path / "audit.jsonl")
    for version in "123":
        audit.append("promoted", "m", actor="ada", to_version=version)
    lines = audit.path.read_text().splitlines(keepends=True)
    if edit == "remove":
        del lines[1]
    elif edit == "change":
        lines[0] = lines[0].replace("ada", "eve")
    else:
        lines[0], lines[1] = lines[1], lines[0]
    audit.path.write_text("".join(lines))
    with pytest.raises(StorageError, match="append-only"):
        audit.check()


def test_line_cut_by_a_kill_does_not_stop_later_records(tmp_path):
    audit = AuditLog(tmp_path / "audit.jsonl")
    audit.append("promoted", "m", to_version="1")
    with audit.path.open("a") as file:
        file.write('{"event": "prom')
    audit.append("promoted", "m", to_version="2")
    assert [record["to"] for record in audit.read()] == ["1", "2"]
    audit.check()


def _append_many(path, count):
    for _ in range(count):
        AuditLog(path).append("promoted", "m", actor="ada")


def test_writers_in_other_processes_do_not_lose_records(tmp_path):
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(AuditLog(path).read()) == 60
    AuditLog(path).check()


def test_unwritable_audit_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        AuditLog(tmp_path / "file" / "audit.jsonl").append("promoted", "m")


def test_numbers_that_are_not_json_are_refused(tmp_path):
    audit = AuditLog(tmp_path / "audit.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        audit.append("promoted", "m", details={"x": float("nan")})
    assert json.dumps(audit.read()) == "[]"
