"""`hotlap serve`: what it answers, what it refuses, how much it holds, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import signal
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hotlap
from conftest import one_line

pytest.importorskip("starlette", reason="serving needs hotlap[serve]")
pytest.importorskip("python_multipart", reason="serving needs hotlap[serve]")
uvicorn = pytest.importorskip("uvicorn", reason="serving needs hotlap[serve]")


class Server:
    """An application at a free port of this machine, in a thread."""

    def __init__(self, app):
        from hotlap.deploy.serve import listen

        self.app, self.listening = app, listen("127.0.0.1", 0)
        self.port = self.listening.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="critical", server_header=False))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.listening.close()
        assert not self.thread.is_alive()


def ask(port: int, method: str, path: str, body=None, headers=None, timeout=60):
    """Status, headers and JSON (else the text) of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        kind = answer.headers["content-type"] or ""
        return answer.status, answer.headers, json.loads(text) if "json" in kind else text.decode()
    finally:
        connection.close()


def png(image) -> bytes:
    held = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(held, "PNG")
    return held.getvalue()


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.fixture(scope="module")
def loaded(trained):
    from hotlap.deploy.model import open_model

    return open_model(trained, "cpu")


@pytest.fixture(scope="module")
def server(loaded):
    from hotlap.deploy.serve import app

    running = Server(app(loaded, upload_bytes=12_000_000))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def port(server) -> int:
    return server.port


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [png(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in ((32, 32), (50, 41), (200, 90))]


# -- what it answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "image/png", "application/x-www-form-urlencoded"])
def test_a_picture_as_the_body(port, loaded, pictures, kind):
    for content in pictures:
        status, _, found = ask(port, "POST", "/predict", content, {"Content-Type": kind} if kind else {})
        assert status == 200
        (answer,) = found["predictions"]
        (want,) = hotlap.predict(loaded, content)
        assert answer["label"] == want.label == next(iter(answer["probabilities"]))
        assert answer["probability"] == pytest.approx(want.probability, abs=1e-5)
        assert answer["probabilities"] == pytest.approx(want.probabilities, abs=1e-5)


def test_several_pictures_as_a_form_and_one_that_is_none(port, loaded, pictures):
    files = [(f"p{i}.png", content) for i, content in enumerate(pictures)]
    body, headers = form(files[0], ("notes.txt", b"hello"), *files[1:])
    status, _, found = ask(port, "POST", "/predict", body, headers)
    assert status == 200
    names = [p["name"] for p in found["predictions"]]
    assert names == ["p0.png", "notes.txt", "p1.png", "p2.png"]
    assert found["predictions"][1] == {"name": "notes.txt", "error": "not an image"}
    labels = [p["label"] for p in found["predictions"] if "label" in p]
    assert labels == [p.label for p in hotlap.predict(loaded, pictures)]


def test_what_it_says_of_itself(port, loaded):
    status, _, about = ask(port, "GET", "/metadata")
    assert (status, about["size"], about["fit"]) == (200, [32, 32], "crop")
    assert about["classes"] == list(loaded.spec.class_names)
    assert str(loaded.path) not in json.dumps(about)
    status, _, health = ask(port, "GET", "/healthz")
    assert (status, health["status"], health["inside"]) == (200, "ok", 0)


def test_the_page_needs_nothing_from_elsewhere(port):
    status, headers, page = ask(port, "GET", "/")
    assert status == 200
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)|https?://|@import|url\(", page)
    assert "default-src 'none'" in headers["content-security-policy"]


def test_what_comes_together_is_looked_at_together(server, port, pictures):
    batcher = server.app.state.batcher
    before = batcher.batches, batcher.pictures
    body, headers = form(*((f"{i}.png", pictures[i % 3]) for i in range(30)))
    assert len(ask(port, "POST", "/predict", body, headers)[2]["predictions"]) == 30
    assert batcher.pictures - before[1] == 30
    assert batcher.batches - before[0] < 30


# -- what it refuses -----------------------------------------------------------------------------


def header_of(width: int, height: int) -> bytes:
    """A PNG that says it is of that size, with next to nothing in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no picture; send one as the body"),
        (b"not an image at all", 422, "not an image"),
        (b"<html><body>404</body></html>", 422, "a web page, not an image"),
        (np.random.default_rng(0).bytes(10_000_000), 422, "not an image"),
        (header_of(30_000, 30_000), 422, "900 megapixels, over the limit of 200"),
        (png(Image.new("RGB", (64, 64)))[:60], 422, "truncated"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(port, body, status, words):
    found = ask(port, "POST", "/predict", body)
    assert found[0] == status
    assert words in found[2]["error"]


def test_50_megapixels_are_read(port):
    status, _, found = ask(port, "POST", "/predict", png(Image.new("L", (7072, 7072), 200)))
    assert status == 200
    assert found["predictions"][0]["label"]


def test_forms_that_do_not_read(port):
    for body, headers, words in (
        (b"x", {"Content-Type": "multipart/form-data"}, "boundary"),
        (b"nonsense", {"Content-Type": "multipart/form-data; boundary=edge"}, "form"),
        (form()[0], form()[1], "a form without files"),
        (form(*(("a.png", b"x"),) * 40)[0], form()[1], "form that does not read (Too many files"),
    ):
        status, _, found = ask(port, "POST", "/predict", body, headers)
        assert status == 400
        assert words in found["error"]


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_over_the_limit_is_refused_while_it_arrives(port, chunked):
    body = (b"\0" * 1_000_000 for _ in range(25)) if chunked else bytes(25_000_000)
    status, _, found = ask(port, "POST", "/predict", body)
    assert status == 413
    assert found["error"] == "more than 12 MB; send smaller pictures, or fewer at a time"
    body, headers = form(("a", bytes(7_000_000)), ("b", bytes(7_000_000)))
    assert ask(port, "POST", "/predict", body, headers)[0] == 413


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/page.html",
        "/static/../page.html",
        "/x",
    ],
)
def test_no_file_of_the_machine_is_reachable(port, path):
    with socket.create_connection(("127.0.0.1", port), 20) as raw:  # http.client might tidy the path
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 404 ")
    assert "root:" not in answer
    assert '"error":"there is nothing here' in answer


def test_methods_that_do_not_fit(port):
    for method, path in (("GET", "/predict"), ("POST", "/"), ("DELETE", "/metadata")):
        status, _, found = ask(port, method, path)
        assert (status, "error" in found) == (405, True)


def test_who_goes_away_leaves_nothing_behind(server, port, pictures):
    for part in (b"", pictures[2][:500]):
        with socket.create_connection(("127.0.0.1", port), 20) as raw:
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + part)
            time.sleep(0.1)
    until = time.monotonic() + 20
    while server.app.state.gate.inside:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert server.app.state.gate.held == 0
    assert ask(port, "POST", "/predict", pictures[0])[0] == 200


def test_beyond_what_there_is_room_for_one_is_asked_to_come_again(loaded, pictures):
    from hotlap.deploy.serve import app

    made = app(loaded, pictures_inside=3)
    running = Server(made)
    try:
        body, headers = form(*((f"{i}.png", pictures[0]) for i in range(4)))
        status, answer, found = ask(running.port, "POST", "/predict", body, headers)
        assert (status, answer["retry-after"]) == (503, "1")
        assert "too many pictures at a time" in found["error"]
        with made.state.gate.enter(3, 0):
            assert ask(running.port, "POST", "/predict", pictures[0])[0] == 503
            assert ask(running.port, "GET", "/healthz")[0] == 200
        assert ask(running.port, "POST", "/predict", pictures[0])[0] == 200
        assert (made.state.gate.inside, made.state.gate.held) == (0, 0)
    finally:
        running.stop()


def test_a_fault_inside_is_an_answer_too(loaded, pictures, monkeypatch):
    from hotlap.deploy import batching
    from hotlap.deploy.serve import app

    def broken(*_):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(batching, "answers", broken)
    running = Server(app(loaded))
    try:
        for _ in range(2):
            status, _, found = ask(running.port, "POST", "/predict", pictures[0])
            assert (status, found) == (500, {"error": "an error inside hotlap: RuntimeError"})
        monkeypatch.undo()
        assert ask(running.port, "POST", "/predict", pictures[0])[0] == 200
    finally:
        running.stop()


# -- the verb, in a process of its own -----------------------------------------------------------


@contextlib.contextmanager
def started(spawn, *words):
    """The verb and the port it answers at."""
    process = spawn("serve", *words, "--port", 0, "--device", "cpu")
    try:
        line = process.stdout.readline()
        found = re.search(r"answers at http://127\.0\.0\.1:(\d+)/", line)
        assert found, line + process.stderr.read()
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
        process.stderr.close()


def most_bytes(process) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


@pytest.mark.slow
def test_200_requests_at_once_in_bounded_memory_and_a_clean_end(spawn, trained):
    rng = np.random.default_rng(0)
    held = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (1500, 2000, 3), dtype=np.uint8)).save(held, "JPEG", quality=80)
    content = held.getvalue()  # over a megabyte, 9 when it is decoded
    with started(spawn, trained) as (process, port):
        assert ask(port, "POST", "/predict", content)[0] == 200
        before = most_bytes(process)
        with ThreadPoolExecutor(200) as pool:
            found = list(pool.map(lambda _: ask(port, "POST", "/predict", content, timeout=120), range(200)))
        statuses = [status for status, _, _ in found]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= 64, "as many as there is room for are answered"
        assert all(headers["retry-after"] for status, headers, _ in found if status == 503)
        answers = {json.dumps(f["predictions"][0]["label"]) for s, _, f in found if s == 200}
        assert len(answers) == 1, "a picture was given another's answer"
        assert ask(port, "GET", "/healthz")[2]["inside"] == 0
        grown = most_bytes(process) - before
        assert grown < 400e6, f"200 requests took {grown / 1e6:.0f} MB more than one"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == "stopped\n"


def test_ctrl_c_ends_it_and_its_port_is_told_apart(spawn, trained, cli):
    with started(spawn, trained) as (process, port):
        done = cli("serve", trained, "--port", port)
        assert done.status == 2
        assert f"port {port} of 127.0.0.1 is in use by another program; choose another" in one_line(done.err)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == "stopped\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "70000"), "--port 70000: give 0 to 65535"),
        (("--port", "0", "--host", "no.such.host.invalid"), "cannot listen at no.such.host.invalid"),
        (("--port", "0", "--tta", "flop"), "--tta flop: no such views"),
        (("--max-upload", "0"), "--max-upload 0: give megabytes"),
    ],
)
def test_words_that_are_wrong(cli, trained, words, said):
    done = cli("serve", trained, *words)
    assert done.status == 2
    assert said in one_line(done.err)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "python_multipart"])
def test_a_package_that_is_missing_is_named(cli, trained, monkeypatch, missing):
    import sys

    monkeypatch.setitem(sys.modules, missing, None)
    assert "pip install 'hotlap[serve]'" in one_line(cli("serve", trained, "--port", "0").err)
