"""The page about a run in a real browser, without a window: its curves are there, it has no errors, and asks nobody for anything."""

import json
import shutil
import subprocess
from urllib.parse import urlsplit

import numpy as np
import pytest
from launching import SMALL_RUN, deshpc
from report_page import Page

pytest.importorskip("matplotlib", reason="pages are drawn with matplotlib")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update")
LOADS = '<img src="http://example.invalid/x.png"><script>console.error("odd"); nothing.there()</script>'

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")


def opened(page, folder):
    """(text of the page's elements, lines of its console, hosts that were asked for something) of a page in a browser.

    No name has an address there: a request is noted, and goes nowhere.
    """
    command = [
        BROWSER, *FLAGS, f"--user-data-dir={folder / 'user'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        f"--log-net-log={folder / 'requests.json'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    urls = {event["params"]["url"] for event in json.loads((folder / "requests.json").read_text())["events"] if "url" in event.get("params", {})}
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line], {urlsplit(url).hostname for url in urls}


@pytest.fixture(scope="module")
def own_hosts(tmp_path_factory):
    """Hosts that the browser asks for something of its own, whatever the page."""
    folder = tmp_path_factory.mktemp("blank")
    (folder / "blank.html").write_text("<!DOCTYPE html><title>blank</title>", encoding="utf-8")
    return opened(folder / "blank.html", folder)[2]


def test_a_browser_shows_the_curves_and_asks_nobody(tmp_path, own_hosts):
    (tmp_path / "a.toml").write_text(SMALL_RUN + '[run]\ndirectory = "run"\nreport_interval_s = 1e-6\n', encoding="utf-8")
    for command in (["train", "a.toml"], ["report", "run"]):
        done = deshpc(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    text, console, hosts = opened(tmp_path / "report.html", tmp_path)
    assert (console, hosts - own_hosts) == ([], set())
    read = map(json.loads, (tmp_path / "run/record.jsonl").read_text(encoding="utf-8").splitlines())
    reported = [(line["step"], line["loss"]) for line in read if line["event"] == "progress"]
    assert len(reported) >= 5
    np.testing.assert_allclose(Page(text).curve("training-loss-0"), reported, rtol=1e-3)


def test_errors_and_requests_of_a_page_are_seen(tmp_path, own_hosts):
    (tmp_path / "bad.html").write_text(f"<!DOCTYPE html><title>bad</title>{LOADS}", encoding="utf-8")
    _, console, hosts = opened(tmp_path / "bad.html", tmp_path)
    assert len(console) == 2 and "nothing is not defined" in console[1] and hosts - own_hosts == {"example.invalid"}
