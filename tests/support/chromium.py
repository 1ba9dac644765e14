"""What a page shows in a real browser: headless Chromium, where it is on this machine."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# In a frame, as a window cannot be as narrow as a phone. What the page holds is sent out of it.
PROBE = """<script>
setTimeout(() => {
  const count = (chart) => {
    const found = {};
    for (const mark of chart.querySelectorAll('[role="graphics-symbol"][aria-label]')) {
      const kind = mark.getAttribute("aria-roledescription");
      found[kind] = (found[kind] || 0) + 1;
    }
    return found;
  };
  const main = document.querySelector("main");
  parent.postMessage({
    width: innerWidth,
    needed: document.documentElement.scrollWidth,
    charts: [...document.querySelectorAll(".chart")].map(count),
    widths: [...document.querySelectorAll(".chart svg")].map((svg) => svg.clientWidth),
    text: main.textContent,
    tags: [...new Set([...main.querySelectorAll("*")].map((each) => each.localName))],
    scripts: document.scripts.length - 1,
    hacked: window.hacked === true,
    color: getComputedStyle(main).color,
  }, "*");
}, 3000);
</script></body>"""
FRAME = """<!doctype html><body><iframe src="page.html" width="{width}" height="3000"></iframe>
<script>onmessage = (event) => {{ document.body.textContent = JSON.stringify(event.data); }};
</script></body>"""


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def look(program: str, page: str, width: int, folder: Path, *, dark: bool = False) -> Any:
    """What a page shows in a window of a width, in pixels."""
    content, _, end = page.rpartition("</body>")  # the page's own script may name it, too
    (folder / "page.html").write_text(content + PROBE + end, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    options += [f"--user-data-dir={folder / 'profile'}", "--window-size=1400,3200", "--dump-dom"]
    # No host is found but loopback: a page that needs one stays empty.
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    result = subprocess.run(
        [program, *options, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    body = re.search("<body>(.*)</body>", result.stdout, re.DOTALL)
    assert body, result.stdout + result.stderr
    return json.loads(html.unescape(body[1]))
