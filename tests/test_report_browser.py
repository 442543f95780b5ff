"""The page in a browser: nothing is wider than it, no text leaves its box, and the console stays empty."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_report import World

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")]

MEASURE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  const width = document.documentElement.clientWidth;
  const scrolls = element => element.closest(".scroll, .plot, pre") !== null;
  const wide = [...document.querySelectorAll("main *")]
    .filter(one => !scrolls(one) && !one.closest(".unseen") && one.getBoundingClientRect().right > width + 1)
    .map(one => one.tagName + "." + one.className);
  const cut = [...document.querySelectorAll(".scroll, .plot")]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "auto")
    .map(one => one.ariaLabel);
  const outside = [...document.querySelectorAll("svg")].flatMap(svg => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < box.left - 2 || own.right > box.right + 2 || own.top < box.top - 2
        || own.bottom > box.bottom + 2;
    }).map(text => text.textContent);
  });
  parent.postMessage(JSON.stringify({width, scroll: document.documentElement.scrollWidth, wide, cut, outside,
    dark: getComputedStyle(document.body).backgroundColor}), "*");
});
</script>
"""
FRAME = """
<body><iframe src="page.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe>
<script>addEventListener("message", event => { document.body.textContent = "MEASURED" + event.data + "END"; });</script>
"""
"""A window of Chromium is never narrower than about 500 pixels; a frame is."""


@pytest.fixture
def page(tmp_path, demo) -> Path:
    """A report with everything that a page may hold, and long names; scripts in it measure it."""
    long = "selectit_with_a_name_that_is_far_longer_than_anyone_would_like_" * 2
    arms = {
        "base": {"finetune": {"method": "none"}},
        "random": {"select": {"strategy": "random"}},
        long: {"select": {"strategy": "selectit"}},
    }
    benchmarks = ["mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval"]
    made = World(
        tmp_path, demo, arms=arms, grid={"select.ratio": [0.1, 0.2]},
        evaluate={"profile": "paper-2023", "benchmarks": benchmarks}, primary=None,
        description="word " * 60 + "x" * 300,
    )  # fmt: skip
    for stage in made.stages("base", "evaluate", "gsm8k"):
        made.fail(stage, f"OSError: /{'long_path/' * 20}{'0' * 200}")
    made.report()
    text = made.text("report.html").replace("</body>", f"{MEASURE}</body>")
    (tmp_path / "page.html").write_text(text)
    return tmp_path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_no_error_is_on_the_console(page, width, dark):
    (page / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={page / 'profile'}", f"--window-size={max(width + 40, 600)},1000",
        "--virtual-time-budget=5000", f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
        (page / "frame.html").as_uri(),
    ]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"MEASURED(.*)END", answer.stdout, re.DOTALL)
    assert found, answer.stderr[-2000:]
    reported = json.loads(found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert reported["width"] == width and (reported["wide"], reported["cut"], reported["outside"]) == ([], [], [])
    assert reported["scroll"] <= width
    assert (reported["dark"] == "rgb(20, 25, 30)") == dark
    assert not re.findall(r".*CONSOLE.*", answer.stderr)
