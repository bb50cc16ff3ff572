"""The page: one file, no network, valid structure, nothing invented, nothing injected."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from nitrogen.pipelines.report.data import EvaluationRow, ReportData, Samples
from nitrogen.pipelines.report.formatting import number
from nitrogen.pipelines.report.page import render

VOID = {"img", "meta", "br", "link", "input"}
ANCHORS = [
    *("samples", "shipped", "compute", "pareto", "quality", "timings", "training"),
    *("neighbours", "reliability", "bias", "claims", "promotion", "howto", "notes"),
]


class Page(HTMLParser):
    """Tags with attributes, texts, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def sections(self) -> list[str]:
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


def test_every_section_is_there_and_well_formed(html):
    page = Page(html)
    assert page.sections() == ANCHORS
    assert page.faults == []
    assert page.open == []
    ids = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert [name for name, times in ids.items() if times > 1] == []
    links = [attrs["href"][1:] for tag, attrs in page.tags if tag == "a"]
    assert set(links) <= set(ids)


def test_nothing_is_loaded_and_nothing_runs(html):
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href"):
            value = attrs.get(name, "#")
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:60])
    # Every local reference of the charts resolves; no other url() is left.
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= ids
    assert re.findall(r"url\((?!#)", html) == []
    assert "default-src 'none'" in html


def test_texts_are_escaped(html):
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<h1>demo &amp; &lt;b&gt;more&lt;/b&gt;</h1>" in html


def test_numbers_intervals_commands_are_shown(html):
    text = Page(html).text
    for shown in (
        "641 [622, 661]",
        "1.92 x",
        "[1.84, 1.99]",
        "nitrogen evaluate",
        "at abc1234",
        "p95 74.2, n = 40",
        "50 % of full",
        "Not in this report: true FID (not asked for).",
        "12 pictures could not be read.",
    ):
        assert shown in text


def test_no_space_stands_before_punctuation(full_report):
    bare = dataclasses.replace(full_report.pareto.chosen, low=None, high=None)
    pareto = dataclasses.replace(full_report.pareto, chosen=bare)
    samples = dataclasses.replace(full_report.samples, seeds=())
    page = render(dataclasses.replace(full_report, pareto=pareto, samples=samples, panels=()))
    body = re.sub(r"<svg.*?</svg>", "", page[page.index("<body>") :], flags=re.DOTALL)
    shown = re.sub(r"<[^>]+>", "", body)
    assert re.findall(r"\w*[ \n]+[,;:.](?!\w)", shown) == []
    assert "<span>, " not in body, "nor at the beginning of a caption"


def test_a_command_that_made_all_claims_is_said_once(full_report):
    one, two = full_report.claims
    same = dataclasses.replace(two, command=one.command, commit=one.commit)
    apart = Page(render(ReportData(claims=[one, two]))).text
    assert apart.count("nitrogen evaluate") == 1
    assert "Command and commit" in apart
    shared = Page(render(ReportData(claims=[one, same])))
    assert "All by nitrogen evaluate at abc1234" in shared.text
    assert shared.text.count("nitrogen evaluate") == 1
    assert "Command and commit" not in shared.text
    assert shared.faults == []


def test_no_command_is_clipped_and_no_chart_enlarged(html):
    style = re.search(r"\.howto pre \{([^}]*)\}", html).group(1)
    assert "pre-wrap" in style
    assert "overflow-x" not in style
    widths = re.findall(r'<div class="chart wide" style="max-width:(\d+)px"><svg[^>]*?viewBox="0 0 '
                        r"(\d+)", html)  # fmt: skip
    assert len(widths) == 4
    assert all(limit == size for limit, size in widths)


def test_pictures_are_enlarged_by_whole_factors_and_described(html):
    page = Page(html)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    samples = [attrs for attrs in images if attrs["alt"].startswith(("teacher,", "student,"))]
    assert len(samples) == 10
    assert {(attrs["width"], attrs["height"]) for attrs in samples} == {("96", "96")}
    assert all("alt" in attrs for attrs in images)
    assert "image-rendering: pixelated" in html


@pytest.mark.parametrize(("size", "shown"), [(16, 96), (28, 84), (64, 128), (192, 192), (300, 150)])
def test_every_picture_size_keeps_square_pixels(size, shown):
    images = np.zeros((1, size, size, 3), np.uint8)
    page = Page(render(ReportData(samples=Samples(images, images))))
    widths = {int(attrs["width"]) for tag, attrs in page.tags if tag == "img"}
    assert widths == {shown}
    assert ("shown at 1/2 of their size" in page.text) == (size > 192)


def test_charts_take_the_colours_of_the_page(html):
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 2 * 4  # a wide and a narrow one of each
    for chart in charts:
        assert "var(--c1)" in chart
        assert 'role="img" aria-label="' in chart
        assert re.findall(r"#0101[0-9a-f]{2}", chart) == []
        assert "DejaVu" not in chart
        assert "var(--sans)" in chart


@pytest.mark.slow
def test_missing_sections_are_left_out_one_by_one(full_report):
    removed = {
        "samples": {"samples", "compute"},
        "pareto": {"pareto"},
        "neighbours": {"neighbours"},
        "shipped": {"shipped"},
    }
    for name, gone in removed.items():
        fewer = dataclasses.replace(full_report, panels=(), **{name: None})
        expected = [anchor for anchor in ANCHORS if anchor not in gone | {"training"}]
        assert Page(render(fewer)).sections() == expected


def test_the_sweeps_choice_says_why(html):
    told = "full model's distance; the nearest was taken."
    assert f"no point is within 2 times the {told}" in Page(html).text


def test_an_empty_report_is_a_page_with_its_reasons():
    page = Page(render(ReportData(missing={"samples": "step evaluate left no result"})))
    assert page.sections() == ["notes"]
    assert "Not in this report: samples (step evaluate left no result)." in page.text
    assert page.faults == []


def test_rows_without_measurements_show_dashes_not_numbers():
    page = Page(render(ReportData(rows=[EvaluationRow("Student")])))
    assert page.sections() == ["quality"]
    cells = page.text[page.text.index("Student") :]
    assert not re.search(r"\d", cells[: cells.index("fd_lite0")])


def test_limits_say_that_more_was_drawn(full_report):
    page = Page(render(full_report, max_samples=2, max_heatmaps=1))
    assert "The first 2 of 5 are shown, not chosen." in page.text
    tiles = [a for t, a in page.tags if t == "img" and a["alt"].startswith("step 1,")]
    assert len(tiles) == 1


def test_equal_data_gives_an_equal_page(full_report, html):
    assert render(full_report) == html


def test_curves_with_gaps_and_negative_values_are_drawn():
    from nitrogen.pipelines.report.data import Curve, CurvePanel

    odd = Curve("$nll_x$ <&>", [0, 1, 2, 3], [1.0, float("nan"), -2.0, float("inf")])
    html = render(ReportData(panels=[CurvePanel("Odd", [odd, Curve("empty", [], [])])]))
    assert Page(html).sections() == ["training"]
    assert "$nll_x$ &lt;&amp;&gt;" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "0"),
        (1234.5, "1,234"),
        (2048, "2,048"),
        (99.96, "100"),
        (9.996, "10.0"),
        (61.74, "61.7"),
        (0.2432, "0.243"),
        (-0.05, "-0.0500"),
        (0.00000123, "1.23e-06"),
        (float("nan"), "nan"),
        ("yes", "yes"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_sideways(html, tmp_path, width):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    probe = "<script>document.title=document.documentElement.scrollWidth</script></body>"
    open_page = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", probe)
    framed = f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>'
    (tmp_path / "page.html").write_text(open_page)
    # A frame of that width: headless windows are never narrower than 500 px.
    (tmp_path / "frame.html").write_text(
        f"<body>{framed}<script>onload=()=>document.title="
        "document.querySelector('iframe').contentDocument.title</script>"
    )
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [chromium, *arguments, profile, "--dump-dom", f"file://{tmp_path / 'frame.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<title>(\d+)</title>", done.stdout)
    assert found, done.stdout[:500]
    assert int(found.group(1)) <= width


def test_the_reliability_section_draws_its_curve(html):
    page = Page(html)
    assert "own runs of 12 steps for 64 pictures" in page.text
    assert "off by a factor of 1.30" in page.text
    assert "true against predicted error of a held region, 4 bins" in html


def test_the_bias_section_names_distances_gaps_and_the_floor(html):
    page = Page(html)
    assert "student, <b>adaptive</b>" in page.text
    assert "0.120 [0.100, 0.140]" in page.text
    assert "-3.4" in page.text
    assert "flags/noto" in page.text
    assert "right for 61" in page.text
    assert "gives 2,048 pictures of the data 0.0300 for classes" in page.text
