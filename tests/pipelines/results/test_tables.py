"""`bench frontier` on a terminal of 100 columns."""

from nitrogen.pipelines.commands.bench_tables import figure_tables, tables


def test_no_line_is_wider_than_100_columns(result, capsys):
    long = {**result["rows"][0], "name": "thin of a folder with a very long name dpmpp_2m 12"}
    tables(result | {"rows": [*result["rows"], long]})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 60
    assert max(len(line) for line in lines) <= 100


def test_figures_that_are_new_are_shown_too(result):
    figures = result["summary"]["1"]
    fresh = figures | {"speedup_over_torch": figures["speedup_over_static"], "other": {"a": 1}}
    assert "speedup_over_torch" in [title for title, _ in figure_tables(fresh)]
