"""The arguments of `miniwdl run`, found in their order."""

from __future__ import annotations

import pytest

from miniwdl_cloud.submit.run_args import RunArguments

OPTIONS = {
    "-i": True,
    "--input": True,
    "--task": True,
    "--empty": True,
    "--env": True,
    "-p": True,
    "--path": True,
    "-v": False,
    "--verbose": False,
    "--no-cache": False,
    "--no-color": False,
    "--copy-input-files": False,
    "--copy-input-files-for": True,
}


def parse(*arguments: str) -> RunArguments:
    """Arguments with the options above."""
    return RunArguments(arguments, OPTIONS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["w.wdl", "x=1"],
        ["-i", "in.json", "w.wdl", "x=1"],
        ["--env", "A=B", "--no-cache", "w.wdl", "x=1", "-v"],
        ["--env=A=B", "-iin.json", "w.wdl", "x=1"],
        ["--new-flag-of-miniwdl", "w.wdl", "x=1"],
    ],
)
def test_wdl_and_inputs_are_found(arguments: list[str]) -> None:
    """The first argument that is no option, nor the value of one, is the WDL; others are inputs."""
    found = parse(*arguments)
    assert found.wdl == "w.wdl"
    assert found.pairs == ["x=1"]
    assert list(found.arguments) == arguments


def test_no_wdl() -> None:
    """Options alone name no WDL."""
    assert parse("-v", "--task", "t").wdl is None


@pytest.mark.parametrize(
    "arguments",
    [["-i", "f.json"], ["-if.json"], ["-i=f.json"], ["--input=f.json"], ["--inp", "f.json"]],
)
def test_spellings_of_an_option(arguments: list[str]) -> None:
    """Values are found joined or apart, and under a beginning that fits one option only."""
    assert parse("w.wdl", *arguments, "x=1").value("-i", "--input") == "f.json"
    assert parse("w.wdl", *arguments, "x=1").pairs == ["x=1"]


def test_exact_name_before_longer_ones() -> None:
    """An option whose name begins another's is itself."""
    assert parse("--copy-input-files", "w.wdl").wdl == "w.wdl"
    assert parse("--copy-input-files-for", "t", "w.wdl").wdl == "w.wdl"


def test_value_missing_at_the_end() -> None:
    """An option without its value is left for miniwdl to complain of."""
    assert parse("w.wdl", "--task").value("--task") is None


def test_space_after_equals() -> None:
    """An input's value may be an argument of its own, for file name completion."""
    assert parse("w.wdl", "x=", "a.txt", "y=b").pairs == ["x=a.txt", "y=b"]


def test_last_value_counts_and_all_are_there() -> None:
    """Repeated options keep all their values."""
    found = parse("w.wdl", "-p", "a", "--path", "b")
    assert found.values("-p", "--path") == ["a", "b"]
    assert found.value("-p", "--path") == "b"


def test_replacements_keep_the_order() -> None:
    """WDL, inputs and options change in their places."""
    found = parse("-v", "w.wdl", "--input=f.json", "x=", "1", "--no-cache", "y=2")
    changed = found.with_wdl("@wdl").with_pairs(["x=s3://b/1", "y=2"])
    assert list(changed.with_option(["-i", "--input"], None).arguments) == [
        "-v",
        "@wdl",
        "x=s3://b/1",
        "y=2",
        "--no-cache",
    ]
    assert list(changed.with_option(["-i", "--input"], "{}").arguments) == [
        "-v",
        "@wdl",
        "--input",
        "{}",
        "x=s3://b/1",
        "y=2",
        "--no-cache",
    ]


def test_nothing_to_replace() -> None:
    """Replacing inputs or options that are not there changes nothing."""
    found = parse("w.wdl")
    assert found.with_pairs([]).arguments == ("w.wdl",)
    assert found.with_option(["-i"], "{}").arguments == ("w.wdl",)


def test_against_miniwdl_itself() -> None:
    """The table of options is miniwdl's own."""
    from miniwdl_cloud.miniwdl_compat import run_options

    options = run_options()
    assert options["-i"] and options["--task"] and options["--path"] and options["--dir"]
    assert not options["--verbose"] and not options["--no-cache"] and not options["--as-me"]
