"""The report in a real browser: no errors, all can be explored and saved, and a phone need not scroll."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic

from crossvote.swstack.report import comparison, pictures
from crossvote.swstack.report import page as report

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")

#: Uses the page in a frame of its own as wide as a phone or a desk has it, and notes what was shown. Contrast: of every
#: text with the first ground behind it that is not transparent, by the formula of WCAG.
DRIVER = """
<!doctype html><html><body><iframe id="frame" style="width:WIDTHpx;height:800px"></iframe><pre id="found"></pre>
<script>
const found = {};
const frame = document.getElementById("frame");
const light = (text) => {
  const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3)
    .map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (window, element) => {
  const ink = light(window.getComputedStyle(element).color);
  let ground = element;
  while (window.getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const paper = light(window.getComputedStyle(ground).backgroundColor);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
};
const explore = (window, page) => {
  const told = () => page.querySelector("#explorer output").textContent;
  const canvas = page.querySelector("#explorer canvas");
  const [scheme, group] = page.querySelectorAll("#explorer select");
  const key = (name) => canvas.dispatchEvent(new window.KeyboardEvent("keydown", {key: name}));
  found.shown = !page.getElementById("explorer").hidden;
  found.first = told();
  found.schemes = [...scheme.options].map((option) => option.value);
  for (let i = 0; i < 3; i++) key("ArrowRight");
  key("ArrowDown");
  found.moved = told();
  scheme.value = "none";
  scheme.dispatchEvent(new Event("change"));
  found.other = told();
  const area = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new window.PointerEvent("pointermove",
    {clientX: area.left + area.width - 1, clientY: area.top + area.height - 1}));
  found.corner = told();
  found.drawn = new Set(canvas.getContext("2d").getImageData(0, 0, 200, 200).data).size;
};
const save = async (window, page) => {
  const blobs = [];
  window.URL.createObjectURL = (blob) => { blobs.push(blob); return "#"; };
  const buttons = [...page.querySelectorAll("button[data-svg]")].filter((button) => !button.hidden);
  window.HTMLAnchorElement.prototype.click = () => {};
  buttons.forEach((button) => button.click());
  found.svg = await Promise.all(blobs.map((blob) => blob.text()));
  found.csv = Object.fromEntries([...page.querySelectorAll("a[download]")].map((link) => [link.download, link.href]));
};
frame.addEventListener("load", async () => {
  const window = frame.contentWindow, page = frame.contentDocument;
  if (!page.querySelector("main")) return;
  window.dispatchEvent(new window.Event("beforeprint"));
  found.printed = [...page.querySelectorAll("details[open] summary")].map((one) => one.textContent);
  page.querySelectorAll("details").forEach((one) => { one.open = true; });
  if (page.getElementById("explorer")) explore(window, page);
  await save(window, page);
  found.width = page.documentElement.scrollWidth;
  found.tallest = Math.max(...[...page.querySelectorAll("td.text.wrap")].map((cell) => cell.clientHeight));
  const wide = [...page.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth + 2);
  found.wide = wide.map((box) => box.getAttribute("aria-label"));
  found.unmarked = wide.filter((box) => !box.classList.contains("more")).length;
  wide.forEach((box) => { box.scrollLeft = box.scrollWidth; box.dispatchEvent(new Event("scroll")); });
  found.stillMarked = wide.filter((box) => box.classList.contains("more")).length;
  found.leftOfView = wide.flatMap((box) => [...box.querySelectorAll("tbody th")].filter(
    (head) => head.getBoundingClientRect().left < box.getBoundingClientRect().left - 1)).length;
  found.nameless = [...page.querySelectorAll("svg, canvas, select, a, button")].filter((one) =>
    !one.closest("svg *") && !(one.getAttribute("aria-label") || one.textContent).trim()).length;
  found.pale = [...page.querySelectorAll("main *")].filter((one) => !one.closest("svg") && one.offsetParent &&
    [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && contrast(window, one) < 4.5)
    .map((one) => `${one.tagName} ${one.textContent.trim().slice(0, 40)}`);
  found.dark = light(window.getComputedStyle(page.body).backgroundColor) < 0.2;
  found.loaded = window.performance.getEntriesByType("resource").map((entry) => entry.name);
  document.getElementById("found").textContent = JSON.stringify(found);
});
frame.srcdoc = PAGE;
</script></body></html>
"""


def look(page: Path, width: int, dark: bool = False) -> dict[str, Any]:
    """What the driver saw of a page, and what the browser wrote to its console."""
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    driver = page.parent / f"driver-{width}-{dark}.html"
    driver.write_text(DRIVER.replace("PAGE;", f"{text};").replace("WIDTH", str(width)), encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=5000",
            f"--user-data-dir={page.parent / driver.stem}", f"file://{driver}",
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    (seen,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    for sign, name in (("<", "lt"), (">", "gt"), ("&", "amp")):
        seen = seen.replace(f"&{name};", sign)
    return {**json.loads(seen), "console": re.findall(r".*CONSOLE.*", done.stderr)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("browser")
    report.write_report(run, synthetic.results(), synthetic.images(), synthetic.chip())
    return run / "report"


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return look(folder / "index.html", 390)


@pytest.fixture(scope="module")
def desk(folder: Path) -> dict[str, Any]:
    return look(folder / "index.html", 1280, dark=True)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page about several runs."""
    results = synthetic.results()
    results["eval"]["task"] = "grammar-single"
    runs = {"runs/one": results, "runs/two": results}
    differing = {"prune.column_sparsity": [0.3, 0.5], "map.schemes": [["none", "paper", "best"], ["none"]]}
    return look(comparison.write_comparison(tmp_path_factory.mktemp("several"), runs, differing), 390)


@pytest.mark.parametrize("page", ["found", "desk", "several"])
def test_the_console_stays_empty_and_nothing_is_fetched(page: str, request: pytest.FixtureRequest) -> None:
    seen = request.getfixturevalue(page)
    assert seen["console"] == []
    assert [name for name in seen["loaded"] if not name.startswith("data:")] == []


def test_a_crossbar_is_explored_by_keyboard_lists_and_pointer(found: dict[str, Any]) -> None:
    image = synthetic.images()
    assert found["shown"]
    assert found["schemes"] == list(image)
    assert found["first"].startswith("word line 0, bit line 0, ")
    assert found["moved"].startswith("word line 1, bit line 3, ")
    plane = image["paper"].groups[0].column_map.plane[3]
    assert f"plane {plane}" in found["moved"]
    assert found["other"].startswith("word line 1, bit line 3, ")
    assert found["other"] != found["moved"]
    assert found["corner"].startswith("word line 127, bit line 127, ")
    assert found["drawn"] > 10


@pytest.mark.parametrize("page", ["found", "several"])
def test_a_phone_does_not_scroll_sideways_but_in_tables_that_say_so(page: str, request: pytest.FixtureRequest) -> None:
    """What is cut off fades out until it is scrolled to, and the heads of its rows stay in sight."""
    seen = request.getfixturevalue(page)
    assert seen["width"] <= 390
    assert len(seen["wide"]) > 1
    assert (seen["unmarked"], seen["stillMarked"], seen["leftOfView"]) == (0, 0, 0)


def test_a_desk_shows_all_of_every_table_and_picture(desk: dict[str, Any]) -> None:
    assert desk["wide"] == []


@pytest.mark.parametrize(("page", "dark"), [("found", False), ("desk", True), ("several", False)])
def test_every_text_stands_out_from_its_ground_in_both_themes(
    page: str, dark: bool, request: pytest.FixtureRequest
) -> None:
    seen = request.getfixturevalue(page)
    assert seen["dark"] == dark
    assert seen["pale"] == []


def test_everything_to_see_or_use_has_a_name(found: dict[str, Any], several: dict[str, Any]) -> None:
    assert (found["nameless"], several["nameless"]) == (0, 0)


def test_paper_shows_what_made_the_run(found: dict[str, Any]) -> None:
    """The configuration, which is long, lies in the run."""
    assert found["printed"] == ["Keys of the stages and versions"]


def test_values_of_keys_stay_on_one_line_of_a_phone(found: dict[str, Any]) -> None:
    assert 20 < found["tallest"] < 2 * 21


def test_every_picture_and_its_data_can_be_saved(found: dict[str, Any], folder: Path) -> None:
    names = [name for name in pictures.NAMES if name != "heads"]  # the made-up run has no heads
    assert len(found["svg"]) == len(names)
    for svg in found["svg"]:
        assert svg.startswith("<svg")
        assert "var(--" not in svg  # a file has no page that would say what it means
    assert list(found["csv"]) == [f"{name}.csv" for name in names]
    for name, address in found["csv"].items():
        data = base64.b64decode(address.removeprefix("data:text/csv;base64,")).decode()
        assert data == (folder / name).read_bytes().decode()
        assert len(list(csv.reader(data.splitlines()))) > 1
