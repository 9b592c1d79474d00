"""The report as a browser shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import genomes, hostile, many

from miniwdl_cloud.report.collect import collect
from miniwdl_cloud.report.render import html

OPENS_MS = 60_000
"""Far more than a page may take (three seconds on a quiet machine): this one may be busy."""


def found(document: str) -> dict[str, Any]:
    """What a test's script has left in the document's title."""
    match = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert match is not None
    return dict(
        json.loads(match[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    )


def ready(document: str) -> int:
    """Milliseconds from the start of the navigation until all was drawn."""
    match = re.search(r'data-ready="(\d+)"', document)
    assert match is not None, "the page's script did not come to its end"
    return int(match[1])


def test_tables_sort_and_filter(dom: Callable[..., str], tmp_path: Path) -> None:
    """Headings are buttons that sort, and say so to a screen reader; the filter narrows."""
    page = html(collect(genomes(tmp_path / "run")))
    seen = found(dom(page, """
      const rows = () => [...document.querySelectorAll("#task-table tbody th")];
      const names = () => rows().map((e) => e.textContent);
      const head = (table, i) => document.querySelectorAll(table + " thead th")[i];
      const all = names().length;
      head("#task-table", 5).querySelector("button").click();
      const longest = names()[0], sort = head("#task-table", 5).getAttribute("aria-sort");
      head("#task-table", 5).querySelector("button").click();
      const turned = head("#task-table", 5).getAttribute("aria-sort");
      head("#calls", 0).querySelector("button").click();
      const calls = [...document.querySelectorAll("#calls tbody th")].map((e) => e.textContent);
      const filter = document.getElementById("task-filter");
      filter.value = "ANNOTATE"; filter.dispatchEvent(new Event("input"));
      const lanes = document.getElementById("lane-filter");
      lanes.value = "sort["; lanes.dispatchEvent(new Event("input"));
      document.title = JSON.stringify({ all, longest, sort, turned, calls, left: names(),
        count: document.getElementById("task-count").textContent,
        lanes: document.getElementById("lane-count").textContent });
    """))  # fmt: skip
    assert seen["all"] == 59 and seen["longest"].startswith("align[22")
    assert (seen["sort"], seen["turned"]) == ("descending", "ascending")
    assert seen["calls"] == sorted(seen["calls"])
    assert seen["left"] == ["annotate"] and seen["count"] == "1 of 1 task"
    assert seen["lanes"] == "24 tasks"


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(dom: Callable[..., str], tmp_path: Path, dark: bool) -> None:
    """The page follows the reader's colour scheme, is legible in both, and its charts are drawn."""
    page = html(collect(genomes(tmp_path / "run", samples=3)))
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    seen = found(dom(page, """
      const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = (c) => { const [r, g, b] = rgb(c).map((v) => { v /= 255;
        return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
        return .2126 * r + .7152 * g + .0722 * b; };
      const contrast = (a, b) => { const [x, y] = [light(a), light(b)];
        return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
      const style = (q) => getComputedStyle(document.querySelector(q));
      const card = style("main section:nth-of-type(2)").backgroundColor;
      const painted = (id) => { const c = document.getElementById(id);
        return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v); };
      document.title = JSON.stringify({ page: light(style("body").backgroundColor),
        ink: contrast(style("body").color, card), soft: contrast(style(".tiles dt").color, card),
        bad: contrast(style(".failure summary span").color, card),
        good: contrast(style(".tiles .good dd").color, card),
        charts: painted("load") && painted("lanes-canvas") });
    """, *options))  # fmt: skip
    assert (seen["page"] < 0.1) is dark
    # WCAG 2.1, 1.4.3: 4.5 to 1
    assert min(seen["ink"], seen["soft"], seen["bad"], seen["good"]) >= 4.5
    assert seen["charts"]


def test_five_thousand_tasks_open(dom: Callable[..., str]) -> None:
    """Thousands of tasks are drawn as they are looked at, so that the page opens at once."""
    page = html(many())
    assert len(page) < 1_000_000
    document = dom(page)
    print(f"drawn after {ready(document)} ms")
    assert ready(document) < OPENS_MS
    assert "200 of 5,000 tasks" in document and document.count("<tr>") < 220


def test_hostile_text_does_nothing(dom: Callable[..., str], tmp_path: Path) -> None:
    """What tasks wrote stays text when the page's script has run."""
    document = dom(html(collect(hostile(tmp_path / "run"))))
    assert ready(document) >= 0
    assert "<title>run \u2013 run report</title>" in document and "<img" not in document
    assert "bad[0-&lt;b&gt;x]" in document
