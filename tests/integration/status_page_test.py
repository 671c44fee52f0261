#!/usr/bin/python3
"""The status page of ramvold in Debian's Chromium, and the JSON behind it.
Arguments: the paths of ramvold and ramvol, and unittest's."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

TIMEOUT_SECONDS = 60
# Text and lines must stand out from what is behind them (WCAG 2.2, AA).
MIN_TEXT_CONTRAST = 4.5
MIN_LINE_CONTRAST = 3.0
MIN_TARGET_PIXELS = 24
CONTRAST = """
  const [selector, property] = arguments;
  const canvas = document.createElement("canvas").getContext("2d");
  const rgb = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (color) => {
    const [r, g, b] = [...rgb(color)].slice(0, 3).map((byte) => {
      const c = byte / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const node = document.querySelector(selector);
  let behind = node;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
    behind = behind.parentElement;
  }
  const [a, b] = [
    light(getComputedStyle(node)[property]),
    light(getComputedStyle(behind).backgroundColor),
  ].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
"""


class Server:
    def __init__(self, *flags, port=0):
        self.process = subprocess.Popen(
            [
                RAMVOLD,
                "--listen=127.0.0.1:0",
                f"--metrics_listen=127.0.0.1:{port}",
                "--memory_limit=256M",
                "--log_level=error",
                *flags,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = self.process.stdout.readline()
        self.grpc = re.search(r"grpc ([^,;\s]+)", ready).group(1)
        self.url = re.search(r"metrics (\S+)metrics", ready).group(1)
        self.port = int(self.url.rstrip("/").rsplit(":", 1)[1])

    def ramvol(self, *arguments, **options):
        return subprocess.run(
            [RAMVOL, "--server=" + self.grpc, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **options,
        )

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read()

    def json(self, path):
        return json.loads(self.get(path))

    def code(self, path):
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def volumes_file(number):
    """The path of a file with so many volumes, each a MiB larger than the last."""
    path = tempfile.mkstemp(dir=os.environ.get("TEST_TMPDIR"))[1]
    with open(path, "w", encoding="utf-8") as file:
        for i in range(number):
            file.write(
                f'volumes {{ name: "volume-{i:04}" size_bytes: {(i + 1) << 20} '
                f'labels {{ key: "shard" value: "{i % 10}" }} }}\n'
            )
    return path


class JsonTest(unittest.TestCase):
    def serve(self, *flags):
        server = Server(*flags)
        self.addCleanup(server.stop)
        return server

    def test_off_with_a_flag(self):
        server = self.serve("--status_page=false")
        for path in ("", "page/main.js", "api/v1/status"):
            self.assertEqual(server.code(path), 404, path)
        self.assertEqual(server.code("metrics"), 200)

    def test_what_scripts_are_told(self):
        server = self.serve()
        server.ramvol("create", "disk", "1G", "--label=team=ci")
        server.ramvol("write", "disk", "0", input=b"x" * 100_000)
        status = server.json("api/v1/status")
        self.assertTrue(status["server"]["ready"])
        self.assertEqual((status["volumes"], status["snapshots"]), (1, 0))
        self.assertEqual(status["memory"]["shared_bytes"], 0)
        self.assertEqual(status["memory"]["limit_bytes"], 256 << 20)
        self.assertEqual(status["written_bytes"], 100_000)
        self.assertEqual(status["errors"], [])
        (disk,) = server.json("api/v1/volumes")["volumes"]
        self.assertEqual(
            (disk["name"], disk["size_bytes"], disk["labels"], disk["allocator"]),
            ("disk", 1 << 30, {"team": "ci"}, "ZSTD"),
        )
        self.assertEqual(disk["written_bytes"], 100_000)
        self.assertEqual(disk["own_bytes"], disk["memory_bytes"])
        server.ramvol("snapshot", "create", "disk", "monday")
        status = server.json("api/v1/status")
        self.assertEqual(status["snapshots"], 1)
        self.assertGreater(status["memory"]["shared_bytes"], 0)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        series = {"rows": []}
        while not series["rows"] and time.monotonic() < deadline:
            series = server.json("api/v1/series")
        rows = [dict(zip(series["columns"], row)) for row in series["rows"]]
        self.assertGreater(rows[-1]["memory_used_bytes"], 0)
        since = rows[-1]["time_ms"]
        later = server.json(f"api/v1/series?since_ms={since}")["rows"]
        self.assertTrue(all(row[0] > since for row in later))

    def test_many_volumes(self):
        server = self.serve("--volumes_file=" + volumes_file(1000))

        def names(query):
            answer = server.json("api/v1/volumes?" + query)
            return [volume["name"] for volume in answer["volumes"]], answer["matching"]

        self.assertEqual(names("limit=1&offset=999"), (["volume-0999"], 1000))
        self.assertEqual(
            names("sort=size_bytes&order=desc&limit=1"), (["volume-0999"], 1000)
        )
        self.assertEqual(names("filter=E-001&limit=2")[1], 10)
        self.assertEqual(names("filter=shard%3D7&limit=1"), (["volume-0007"], 100))
        began = time.monotonic()
        size = len(server.get("api/v1/volumes?limit=50&sort=memory_bytes"))
        print(
            f"a page of 1,000: {size} bytes, {(time.monotonic() - began) * 1e3:.1f} ms"
        )

    def starve(self, server, browsers, browse):
        """Probes for some seconds while `browse` runs in so many threads."""
        ends = time.monotonic() + 5
        took = []

        def probe(path):
            codes = set()
            while time.monotonic() < ends:
                began = time.monotonic()
                codes.add(server.code(path))
                took.append(time.monotonic() - began)
            return codes

        # Browsers open connections ahead of time, and say nothing.
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
        paths = ("healthz", "readyz", "metrics")
        with concurrent.futures.ThreadPoolExecutor(browsers + len(paths)) as pool:
            pages = [pool.submit(browse, i, ends) for i in range(browsers)]
            probes = [pool.submit(probe, path) for path in paths]
            for probed in probes:
                self.assertEqual(probed.result(), {200})
            answers = sum(page.result() for page in pages)
        for connection in idle:
            connection.close()
        print(
            f"{browsers} browsers had {answers} answers; {len(took)} probes, "
            f"the slowest {max(took) * 1e3:.0f} ms"
        )

    def test_open_pages_starve_no_probe(self):
        server = self.serve("--volumes_file=" + volumes_file(1000))

        # As the page does it, from the probe's own address. On a machine with
        # much to do, pages may get 503, and ask again.
        def browse(number, ends):
            time.sleep(number / 5)
            answers = 0
            while time.monotonic() < ends:
                for path in ("status", "series", "volumes?limit=50&sort=ratio"):
                    answers += server.code("api/v1/" + path) == 200
                time.sleep(2)
            return answers

        self.starve(server, 10, browse)

    def test_greedy_scripts_starve_no_probe_of_others(self):
        server = self.serve("--volumes_file=" + volumes_file(1000))

        def browse(_, ends):
            answers = 0
            while time.monotonic() < ends:
                connection = http.client.HTTPConnection(
                    "127.0.0.1", server.port, 60, ("127.0.0.2", 0)
                )
                with contextlib.closing(connection), contextlib.suppress(OSError):
                    connection.request("GET", "/api/v1/volumes?limit=1000")
                    answers += connection.getresponse().status == 200
            return answers

        self.starve(server, 20, browse)


class BrowserTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        profile = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--user-data-dir=" + profile,
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        cls.browser = webdriver.Chrome(
            service=Service("/usr/bin/chromedriver"), options=options
        )
        cls.browser.set_page_load_timeout(TIMEOUT_SECONDS)

    @classmethod
    def tearDownClass(cls):
        cls.browser.quit()

    def setUp(self):
        self.resize(1280, 900)
        self.set_scheme("light")

    def resize(self, width, height, mobile=False):
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": height,
                "deviceScaleFactor": 1,
                "mobile": mobile,
            },
        )

    def set_scheme(self, scheme):
        self.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )

    def open(self, server, query=""):
        self.browser.get_log("browser")
        self.browser.get(server.url + query)
        self.wait(lambda: self.text("state") == "Live", "the page is live")

    def serve(self, *flags):
        server = Server(*flags)
        self.addCleanup(server.stop)
        return server

    def assert_write_fails(self, server, volume):
        with self.assertRaises(subprocess.CalledProcessError):
            server.ramvol(
                "write",
                volume,
                "0",
                input=os.urandom(1 << 20),
                stderr=subprocess.DEVNULL,
            )

    def wait(self, condition, what):
        WebDriverWait(self.browser, TIMEOUT_SECONDS, 0.1).until(
            lambda _: condition(), "not so: " + what
        )

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, name):
        return self.browser.find_element(By.ID, name).text

    def run_js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def cells(self, column):
        """What the table shows in a column, from the top."""
        return self.run_js(
            "return [...document.querySelectorAll('#volume-table tbody tr')]"
            ".map((row) => row.cells[arguments[0]].firstChild.textContent)",
            column,
        )

    def click(self, selector):
        self.run_js(
            "arguments[0].scrollIntoView({block: 'center'})", self.find(selector)
        )
        self.find(selector).click()

    def sort_button(self, key):
        return f'th[data-key="{key}"] button'

    def assert_nothing_is_wrong(self):
        """No errors, nothing that the policy forbids, nothing from elsewhere."""
        # A server with much to do may answer 503; the page asks again.
        wrong = [
            entry
            for entry in self.browser.get_log("browser")
            if "/api/v1/" not in entry["message"] or " 503 " not in entry["message"]
        ]
        self.assertEqual(wrong, [])
        loaded = self.run_js(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        origin = self.run_js("return location.origin")
        self.assertGreater(len(loaded), 5)
        self.assertEqual(
            [url for url in loaded if not url.startswith(origin + "/")], []
        )

    def test_shows_what_there_is_and_what_changes(self):
        server = self.serve()
        server.ramvol("create", "first", "1536M")
        self.open(server)
        self.assertEqual(self.browser.title, "ramvold")
        self.assertEqual(self.cells(0), ["first"])
        self.assertEqual(self.cells(1), ["1.5 GiB"])
        self.assertIn("of 256 MiB", self.text("memory"))
        self.assertEqual(self.text("no-errors"), "None since the server began.")
        self.run_js("window.stays = true")

        server.ramvol("create", "second", "1G", "--memory-limit=1")
        self.wait(lambda: self.cells(0) == ["first", "second"], "a new volume is shown")
        server.ramvol("write", "first", "0", input=os.urandom(3 << 20))
        self.wait(lambda: self.cells(2)[0] == "3 MiB", "its data are shown")

        def write_and_see():
            # Again: the legend has the last two seconds alone.
            server.ramvol("write", "first", "0", input=os.urandom(3 << 20))
            plots = self.text("plots")
            return "written 0 B/s" not in plots and "written –" not in plots

        self.wait(write_and_see, "the write is in the plot")
        self.assert_write_fails(server, "second")
        self.wait(
            lambda: "VOLUME_MEMORY_LIMIT" in self.text("errors"), "the error is shown"
        )
        self.assertEqual(self.find("#snapshots b").text, "0")
        server.ramvol("snapshot", "create", "first", "monday")
        self.wait(
            lambda: (
                self.text("snapshots").startswith("1")
                and " MiB shared" in self.text("snapshots")
            ),
            "the snapshot is counted, and what it shares",
        )
        server.ramvol("rm", "first")
        self.wait(lambda: self.cells(0) == ["second"], "a deleted volume is gone")
        self.assertTrue(
            self.run_js("return window.stays"), "the page was not loaded anew"
        )
        self.assert_nothing_is_wrong()

    def test_text_of_others_stays_text(self):
        server = self.serve()
        evil = "<img src=x onerror=alert(1)><b>&amp;"
        server.ramvol("create", "disk", "1M", "--label=note=" + evil)
        self.open(server)
        self.assertIn("note=" + evil, self.find("#volume-table tbody").text)
        self.assertEqual(
            self.browser.find_elements(By.CSS_SELECTOR, "tbody img, tbody b"), []
        )
        blocked = self.browser.execute_async_script(
            "const done = arguments[0];"
            "document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));"
            "const image = new Image(); image.src = 'https://example.invalid/x.png'"
        )
        self.assertEqual(blocked, "img-src")

    def test_a_thousand_volumes(self):
        server = self.serve("--volumes_file=" + volumes_file(1000))
        began = time.monotonic()
        self.open(server)
        print(f"1,000 volumes: live after {time.monotonic() - began:.1f} s")
        self.assertEqual(self.text("summary"), "1,000 volumes")
        self.assertEqual(len(self.cells(0)), 50)
        self.assertEqual(self.text("range"), "1–50 of 1,000")
        self.click("#next")
        self.wait(lambda: self.cells(0)[0] == "volume-0050", "the second page")
        self.click(self.sort_button("size_bytes"))
        self.wait(lambda: self.cells(0)[0] == "volume-0999", "the largest first")
        self.assertEqual(self.text("range"), "1–50 of 1,000")
        self.click(self.sort_button("size_bytes"))
        self.wait(lambda: self.cells(0)[0] == "volume-0000", "the smallest first")
        self.find("#filter").send_keys("shard=7")
        self.wait(lambda: self.text("range") == "1–50 of 100", "those of a label")
        self.assertEqual(self.cells(0)[:2], ["volume-0007", "volume-0017"])
        # What is chosen is in the URL.
        self.browser.refresh()
        self.wait(
            lambda: self.text("range") == "1–50 of 100", "the same after a reload"
        )
        self.assertEqual(self.find("#filter").get_attribute("value"), "shard=7")
        self.find("#filter").clear()
        self.find("#filter").send_keys("volume-0999")
        self.wait(lambda: self.cells(0) == ["volume-0999"], "one by its name")
        self.assertTrue(self.find("#next").get_attribute("disabled"))
        self.assert_nothing_is_wrong()

    def test_a_restart(self):
        # Bound by this process too, so that nobody else gets it meanwhile.
        holder = socket.socket()
        self.addCleanup(holder.close)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        server = Server(port=holder.getsockname()[1])
        server.ramvol("create", "before", "1M")
        self.open(server)
        server.stop()
        self.wait(
            lambda: "No answer" in self.text("state"), "it says that nobody answers"
        )
        self.assertEqual(self.cells(0), ["before"])
        again = Server(port=server.port)
        self.addCleanup(again.stop)
        again.ramvol("create", "after", "1M")
        self.wait(lambda: self.text("state") == "Live", "it is live again")
        self.wait(lambda: self.cells(0) == ["after"], "it shows what there is now")
        notice = self.find("#restarted")
        self.assertIn("The server restarted", notice.text)
        self.assertEqual(notice.get_attribute("role"), "alert")
        self.click("#restarted button")
        self.assertFalse(notice.is_displayed())

    def test_pause(self):
        server = self.serve()
        self.open(server)
        self.click("#pause")
        self.assertEqual(self.text("state"), "Paused")
        self.assertEqual(self.find("#pause").get_attribute("aria-pressed"), "true")
        server.ramvol("create", "disk", "1M")
        self.click("#pause")
        self.wait(lambda: self.cells(0) == ["disk"], "it goes on")
        self.wait(lambda: self.text("state") == "Live", "it says so")

    def test_light_and_dark(self):
        server = self.serve()
        server.ramvol("create", "disk", "1M", "--label=a=b", "--memory-limit=1")
        self.assert_write_fails(server, "disk")
        self.open(server)
        backgrounds = set()
        for scheme in ("light", "dark"):
            self.set_scheme(scheme)
            backgrounds.add(
                self.run_js("return getComputedStyle(document.body).backgroundColor")
            )
            for selector in (
                "h1",
                "#host",
                "#facts",
                "#state",
                "#pause",
                "dt",
                "dd b",
                "dd small",
                "dd.bad b",
                "figcaption b",
                ".legend span",
                "tbody td",
                "tbody small",
                "th button",
                "#summary",
                "footer",
                "footer a",
            ):
                if not self.browser.find_elements(By.CSS_SELECTOR, selector):
                    continue
                contrast = self.run_js(CONTRAST, selector, "color")
                self.assertGreaterEqual(contrast, MIN_TEXT_CONTRAST, (scheme, selector))
            for line in ("color-0", "color-1", "color-2"):
                contrast = self.run_js(CONTRAST, ".legend ." + line, "stroke")
                self.assertGreaterEqual(contrast, MIN_LINE_CONTRAST, (scheme, line))
        self.assertEqual(len(backgrounds), 2)

    def test_a_phone(self):
        server = self.serve("--volumes_file=" + volumes_file(60))
        self.resize(360, 740, mobile=True)
        server.ramvol("set", "volume-0000", "--memory-limit=1")
        self.assert_write_fails(server, "volume-0000")
        self.open(server)
        self.assertTrue(self.find("#errors").is_displayed())
        self.assertLessEqual(
            self.run_js("return document.documentElement.scrollWidth"), 360
        )
        small = self.run_js(
            "return [...document.querySelectorAll('button, input')].filter((node) => {"
            "const box = node.getBoundingClientRect();"
            "return box.width > 0 && Math.min(box.width, box.height) < arguments[0]; })"
            ".map((node) => node.outerHTML)",
            MIN_TARGET_PIXELS,
        )
        self.assertEqual(small, [])
        # As wide as numbers can be.
        width = self.run_js(
            "document.querySelectorAll('#volume-table td').forEach((cell) => {"
            "cell.textContent = cell.cellIndex ? '1023.99 MiB/s' : 'v'.repeat(63); });"
            "return document.documentElement.scrollWidth"
        )
        self.assertLessEqual(width, 360)
        self.open(server)
        # Each number has its name beside it, and the heads still sort.
        label = self.run_js(
            "return getComputedStyle(document.querySelector('#volume-table tbody tr').cells[1], '::before').content"
        )
        self.assertIn("Size", label)
        self.click(self.sort_button("size_bytes"))
        self.wait(lambda: self.cells(0)[0] == "volume-0059", "the largest first")

    def focused(self):
        return self.run_js(
            "const node = document.activeElement;"
            "return node.id || node.closest('th')?.dataset.key || node.getAttribute('aria-label')"
            " || node.textContent"
        )

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def test_keyboard(self):
        server = self.serve("--volumes_file=" + volumes_file(60))
        self.open(server)
        self.run_js("document.activeElement.blur()")
        order = []
        while "next" not in order and len(order) < 50:
            self.press(Keys.TAB)
            order.append(self.focused())
        self.assertEqual(
            order[:3], ["Skip to the volumes", "pause", "Throughput, point in time"]
        )
        self.assertEqual(
            order[5:10],
            [
                "Memory, up to the limit, point in time",
                "filter",
                "name",
                "size_bytes",
                "logical_bytes",
            ],
        )
        self.assertEqual(
            order[-3:], ["written_bytes_per_second", "failed_operations", "next"]
        )
        self.assertNotEqual(
            self.run_js("return getComputedStyle(document.activeElement).outlineStyle"),
            "none",
        )
        # Focus and scrolling outlive the next polls.
        polls = "return performance.getEntriesByName(location.origin + '/api/v1/status').length"
        before = self.run_js(polls)
        self.wait(lambda: self.run_js(polls) >= before + 2, "it has polled")
        self.assertEqual(self.focused(), "next")
        self.press(Keys.ENTER)
        self.wait(
            lambda: self.cells(0)[0] == "volume-0050", "Enter goes to the next page"
        )
        self.find(self.sort_button("size_bytes")).send_keys(Keys.ENTER)
        head = self.find('th[data-key="size_bytes"]')
        self.assertEqual(head.get_attribute("aria-sort"), "descending")
        self.wait(lambda: self.cells(0)[0] == "volume-0059", "Enter sorts")

    def test_plots_by_keyboard(self):
        server = self.serve()
        self.open(server)
        plot = self.find('[aria-label="Memory, up to the limit, point in time"]')
        self.wait(
            lambda: int(plot.get_attribute("aria-valuemax")) >= 2,
            "there are three points",
        )
        self.assertRegex(
            plot.get_attribute("aria-valuetext"), r"^now: volumes .*, for clients "
        )
        plot.send_keys(Keys.HOME)
        self.assertRegex(
            plot.get_attribute("aria-valuetext"), r"^\d\d:\d\d:\d\d: volumes "
        )
        self.assertEqual(plot.get_attribute("aria-valuenow"), "0")
        plot.send_keys(Keys.ARROW_RIGHT)
        self.assertEqual(plot.get_attribute("aria-valuenow"), "1")
        plot.send_keys(Keys.ESCAPE)
        self.assertRegex(plot.get_attribute("aria-valuetext"), "^now: ")

    def accessible(self):
        """What assistive technology is told: [(role, name)]."""
        self.browser.execute_cdp_cmd("Accessibility.enable", {})
        tree = self.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node.get("ignored") and "role" in node
        ]

    def test_screen_readers(self):
        server = self.serve()
        server.ramvol("create", "disk", "1M")
        for width, mobile in ((1280, False), (360, True)):
            self.resize(width, 900, mobile)
            self.open(server)
            nodes = self.accessible()
            for node in (
                ("heading", "Volumes"),
                ("main", ""),
                ("searchbox", "Filter by name, or by label as in team=ci"),
                ("navigation", "Pages of volumes"),
                ("table", "Volumes"),
                ("columnheader", "Memory"),
                ("rowheader", "disk"),
                ("slider", "Throughput, point in time"),
                ("meter", "Memory used, of the limit"),
                ("status", ""),
            ):
                self.assertIn(node, nodes, width)
            unnamed = [
                role
                for role, name in nodes
                if role
                in ("button", "link", "searchbox", "slider", "meter", "columnheader")
                and not name
            ]
            self.assertEqual(unnamed, [])
        self.assertEqual(self.find("html").get_attribute("lang"), "en")


if __name__ == "__main__":
    RAMVOLD, RAMVOL = (os.path.realpath(path) for path in sys.argv[1:3])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
