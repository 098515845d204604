"""A headless Chromium for tests, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no chromium here (apt install chromium chromium-driver)"
)
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-dev-shm-usage")


@contextmanager
def chromium(width: int = 1300, height: int = 1000) -> Iterator[Any]:
    """A browser of this size that ends with the block."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"window-size={width},{height}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()


def hover(browser: Any, share: float) -> str:
    """What the page says of the point at 60 % of the map's width and this share of its height."""
    return str(
        browser.execute_script(
            "const c = document.getElementById('chart'), b = c.getBoundingClientRect();"
            "const at = {clientX: b.left + b.width * .6, clientY: b.top + b.height * arguments[0]};"
            "c.dispatchEvent(new PointerEvent('pointermove', at));"
            "return document.getElementById('readout').textContent",
            share,
        )
    )
