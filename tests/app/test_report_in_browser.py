"""The report in a real browser: no errors, the crossbar can be explored, and a phone need not scroll sideways."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import synthetic_run as synthetic

from crossvote.swstack.report import page as report
from crossvote.swstack.report import pictures

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")

#: Explores the crossbar by keyboard, pointer and lists in an own frame as wide as a phone, and notes what was shown.
DRIVER = """
<!doctype html><html><body><iframe id="phone" style="width:390px;height:800px"></iframe><pre id="found"></pre>
<script>
const found = {errors: []};
const frame = document.getElementById("phone");
frame.addEventListener("load", () => {
  const page = frame.contentDocument;
  if (!page.getElementById("explorer")) return;
  const told = () => page.querySelector("#explorer output").textContent;
  const canvas = page.querySelector("#explorer canvas");
  const [scheme, group] = page.querySelectorAll("#explorer select");
  const key = (name) => canvas.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", {key: name}));
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
  canvas.dispatchEvent(new frame.contentWindow.PointerEvent("pointermove",
    {clientX: area.left + area.width - 1, clientY: area.top + area.height - 1}));
  found.corner = told();
  found.drawn = new Set(canvas.getContext("2d").getImageData(0, 0, 200, 200).data).size;
  found.width = page.documentElement.scrollWidth;
  found.tallest = Math.max(...[...page.querySelectorAll("td.text.wrap")].map((cell) => cell.clientHeight));
  found.buttons = [...page.querySelectorAll("button[data-svg]")].filter((button) => !button.hidden).length;
  document.getElementById("found").textContent = JSON.stringify(found);
});
frame.srcdoc = PAGE;
</script></body></html>
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver saw, and what the browser wrote to its console."""
    folder = tmp_path_factory.mktemp("browser")
    report.write_report(folder, synthetic.results(), synthetic.images(), synthetic.chip())
    text = json.dumps((folder / report.PAGE).read_text(encoding="utf-8")).replace("</", "<\\/")
    driver = folder / "driver.html"
    driver.write_text(DRIVER.replace("PAGE;", f"{text};"), encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
            "--virtual-time-budget=5000", f"--user-data-dir={folder / 'profile'}", f"file://{driver}",
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    (seen,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    return {**json.loads(seen.replace("&amp;", "&")), "console": re.findall(r".*CONSOLE.*", done.stderr)}


def test_the_console_stays_empty(found: dict[str, Any]) -> None:
    assert found["console"] == []


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


def test_a_phone_does_not_scroll_sideways(found: dict[str, Any]) -> None:
    assert found["width"] <= 390


def test_values_of_keys_stay_on_one_line_of_a_phone(found: dict[str, Any]) -> None:
    assert 20 < found["tallest"] < 2 * 21


def test_every_picture_can_be_saved(found: dict[str, Any]) -> None:
    assert found["buttons"] == len(pictures.NAMES) - 1  # the made-up run has no heads
