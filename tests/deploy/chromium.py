"""A headless Chromium, driven through its DevTools pipe: no packages, no port."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Chromium:
    """A tab. A context manager; `profile` is a folder that it may write in."""

    def __init__(self, profile: Path):
        assert PROGRAM is not None
        to_it, mine = os.pipe(), os.pipe()
        # it reads commands from 3 and answers on 4; the shell moves our pipes there
        start = f'exec "$@" 3<&{to_it[0]} 4>&{mine[1]}'
        words = [
            *(PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
            *("--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={profile}", "about:blank"),
        ]
        self.process = subprocess.Popen(
            ["bash", "-c", start, "chromium", *words],
            pass_fds=(to_it[0], mine[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it[0])
        os.close(mine[1])
        self.write, self.read = os.fdopen(to_it[1], "wb"), os.fdopen(mine[0], "rb")
        self.numbers, self.session, self.errors = itertools.count(1), None, []
        tabs = self.call("Target.getTargets")["targetInfos"]
        tab = next(t["targetId"] for t in tabs if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.session = None
        self.call("Browser.close")
        self.write.close()
        self.read.close()
        self.process.wait(20)

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """A command's result; what the page complains of meanwhile is kept in `errors`."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": arguments}
        if self.session:
            message["sessionId"] = self.session
        self.write.write(json.dumps(message).encode() + b"\0")
        self.write.flush()
        while True:
            text = b""
            while not text.endswith(b"\0"):
                byte = self.read.read(1)
                assert byte, "the browser ended"
                text += byte
            answer = json.loads(text[:-1])
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(answer["params"])
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression, or the promise that it makes, comes to."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < until, expression
            time.sleep(0.05)

    def choose(self, selector: str, files: list[Path]) -> None:
        """As a user picks files in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(f) for f in files])

    def screenshot(self, path: Path, width: int = 900, height: int = 800, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
