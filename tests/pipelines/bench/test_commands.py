"""The command lines that benchmark files name make the same file again."""

import shlex
from pathlib import Path

from nitrogen.pipelines.commands.bench_files import command


def test_the_command_names_every_option_that_was_given():
    given = [("--thin", Path("a b")), ("--images", 32), ("--rounds", None), ("--preset", "day")]
    line = command("frontier", Path("x.json"), "s3://bucket/run", True, given)
    assert shlex.split(line) == [
        "nitrogen", "bench", "frontier", "--out", "x.json", "--quick",
        "--run", "s3://bucket/run", "--thin", "a b", "--images", "32", "--preset", "day",
    ]  # fmt: skip
