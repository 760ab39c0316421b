"""`hotlap` as test_readme.py has it: what was typed, and after it what makes it short.

    python limited.py WORD ...

A later option takes the place of an earlier one: a command goes through its own words first, and fails if one
is wrong. What each verb is given is in $README_LIMITS, as JSON; the words are written into the file
$README_RAN. It serves until it has answered once.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parents[1]))


def limits(words: list[str]) -> list[str]:
    found = list(json.loads(os.environ["README_LIMITS"]).get(words[0], ()))
    if "patterns" in words:
        found += ["--data", "patterns:400,100"]
    if "--target" in words:
        found += ["--target", "1"]
    return found


def main() -> int:
    words = sys.argv[1:]
    with open(os.environ["README_RAN"], "a") as ran:
        ran.write(json.dumps(words) + "\n")
    from data.tiny_cifar import SMALL
    from hotlap.cli.main import main as hotlap
    from hotlap.data.cifar import SETS

    gc.get_referents(SETS)[0]["cifar10"] = SMALL  # in its official files, with fewer images in each
    if words[0] in ("bench", "profile"):
        from hotlap.inspect import roofline

        roofline.PEAK_FLOP["cpu"] = 1e8  # a look at the machine's peaks, not a measurement
    if words[0] != "serve":
        return hotlap([*words, *limits(words)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threading.Thread(target=stop, args=(f"http://127.0.0.1:{port}/",), daemon=True).start()
    return hotlap([*words, "--port", str(port)])


def stop(address: str) -> None:
    """Ctrl-C, once the page is there; where it never is, the process fails."""
    for _ in range(600):
        try:
            page = urlopen(address, timeout=10).read()
        except (URLError, ConnectionError):
            time.sleep(0.1)
        else:
            os.kill(os.getpid(), signal.SIGINT if b"<html" in page else signal.SIGKILL)
            return
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
