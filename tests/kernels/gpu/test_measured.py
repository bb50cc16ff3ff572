"""The measured column, filled from lines that the benchmark itself made (in the interpreter)."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from nitrogen.kernels import roofline
from nitrogen.kernels.counts import Shape
from nitrogen.kernels.gpu import bench
from nitrogen.kernels.measured import BEGIN, END, MeasuredError, filled, measured, read_lines, write

SHAPES = (
    Shape("gated_add", b=1, side=8, channels=16), Shape("row_mlp", 1, 8, 16, 0.5, 0.5),
    Shape("row_mlp", 1, 8, 16), Shape("plan_rows", 1, 8, 1),
)  # fmt: skip
CARD = "NVIDIA H100 80GB HBM3"


@pytest.fixture(scope="module", autouse=True)
def unpoisoned():
    """Plain PyTorch may fill what it allocates."""
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def lines():
    """As a card would give them: of the benchmark, under a card's name and a commit."""
    made = []
    for dtype in (torch.bfloat16, torch.float32):
        run = bench.measure("cpu", dtype=dtype, shapes=SHAPES[:-1], repeats=1, compiled=False)
        made += [{"commit": "abc1234", "date": "2026-11-26T00:00:00", **one} for one in run]
    for one in made:
        one["hardware"] = CARD
    return json.loads(json.dumps(made))


def of(lines, provider, shape, dtype="bfloat16"):
    [one] = [
        line for line in lines
        if (line["op"], line["provider"], line["dtype"]) == (shape.op, provider, dtype)
        and (line["rows"], line["width"]) == (shape.active, shape.width)
    ]  # fmt: skip
    return one


def test_every_shape_gets_its_own_median(lines):
    found = measured(lines, SHAPES)
    assert set(found.cells) == set(SHAPES[:-1]), "the one without lines stays empty"
    for shape, text in found.cells.items():
        ours, dense = (of(lines, name, shape)["p50"] * 1e3 for name in ("triton", "dense"))
        assert text == f"{ours:.1f} (dense {dense:.1f})"
    assert measured(lines, SHAPES, size=4).cells != found.cells


def test_the_table_is_that_of_the_predictions_with_its_last_column_filled(lines):
    text = filled(SHAPES, measured(lines, SHAPES))
    rows = text.splitlines()
    bare = roofline.table(2, SHAPES).splitlines()
    assert [row.rsplit("|", 2)[0] for row in rows[: len(bare)]] == [
        row.rsplit("|", 2)[0] for row in bare
    ]
    last = [row.rsplit("|", 2)[1].strip() for row in rows[2 : len(bare)]]
    assert [bool(one) for one in last] == [True, True, True, False]
    assert rows[-1].startswith(f"Measured on {CARD}, bfloat16, n = 1, abc1234, 2026-11-26")


def test_a_later_run_replaces_an_earlier_one_and_a_wrong_kernel_has_no_time(lines):
    shape = SHAPES[0]
    ours = of(lines, "triton", shape)
    again = measured([*lines, {**ours, "p50": 1.0}], SHAPES).cells[shape]
    assert again.startswith("1000.0 (dense ")
    wrong = {**ours, "metric": "relative_rms", "p50": 0.25, "failed": True}
    assert measured([*lines, wrong], SHAPES).cells[shape] == "wrong, relative RMS 0.25"


@pytest.mark.parametrize("cards", [[], [CARD, "AMD Instinct MI300X"], ["Triton's interpreter"]])
def test_the_lines_are_of_one_card(lines, cards):
    mixed = [{**one, "hardware": card} for one in lines for card in cards]
    with pytest.raises(MeasuredError, match="must hold the lines of one GPU"):
        measured(mixed, SHAPES)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        *(({key: None}, f"{key} = None") for key in ("op", "provider", "shape", "metric", "p50")),
        ({"p50": "1.0"}, "p50 = '1.0'"), ({"unit": "us"}, "time in us"),
        ({"metric": "energy", "unit": "J"}, "energy in J"), ({"failed": True}, "time in ms"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_refused_in_a_sentence(tmp_path, lines, changed, said):
    """A key that is absent, one of another kind, and a time that would be taken for ms."""
    path, line = tmp_path / "card.jsonl", of(lines, "triton", SHAPES[0])
    path.write_text("\n".join(map(json.dumps, lines)))
    assert read_lines(path) == lines
    left = {key: value for key, value in (line | changed).items() if value is not None}
    path.write_text("\n".join(map(json.dumps, [*lines, left])))
    with pytest.raises(MeasuredError, match=f"got {said} in object {len(lines) + 1} of "):
        read_lines(path)


def test_what_is_written_stands_between_the_markers(tmp_path, lines):
    document = tmp_path / "README.md"
    document.write_text(f"before\n{BEGIN} command -->\nold\n{END}\nafter\n")
    write(document, filled(SHAPES, measured(lines, SHAPES)))
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN} command -->\n| op |")
    assert text.endswith(f"in brackets.\n{END}\nafter\n")
    assert "old" not in text
    document.write_text("no place")
    with pytest.raises(MeasuredError, match="must name a document"):
        write(document, "text")
    assert document.read_text() == "no place"


def test_the_command_prints_writes_and_refuses_in_a_sentence(tmp_path, lines, monkeypatch, capsys):
    renamed = [
        {**one, "shape": [64, 32, 32, 256]} if one["op"] == "gated_add" else one for one in lines
    ]
    (tmp_path / "card.jsonl").write_text("\n".join(map(json.dumps, renamed)) + "\n")
    (tmp_path / "README.md").write_text(f"{BEGIN} -->\n{END}\n")
    options = ["roofline", "--measured", str(tmp_path / "card.jsonl")]
    monkeypatch.setattr(sys, "argv", [*options, "--write", str(tmp_path / "README.md")])
    roofline.main()
    shown = capsys.readouterr().out
    [row] = [line for line in shown.splitlines() if line.startswith("| gated_add ")]
    shape = replace(SHAPES[0], b=64, side=32, channels=256)
    assert row.endswith(f"| {measured(renamed, [shape]).cells[shape]} |")
    assert shown in (tmp_path / "README.md").read_text()
    (tmp_path / "card.jsonl").write_text("{")
    monkeypatch.setattr(sys, "argv", options)
    with pytest.raises(SystemExit):
        roofline.main()
    assert "must be the JSON lines of `bench kernels`" in capsys.readouterr().err
