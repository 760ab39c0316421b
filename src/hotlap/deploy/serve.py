"""A saved model behind an address: a page to drop pictures on, and JSON for programs."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from hotlap._version import __version__
from hotlap.deploy.batching import Batcher, Full, Gate
from hotlap.deploy.model import Loaded
from hotlap.deploy.predict import Failure, Prediction, check_channels
from hotlap.errors import UserError
from hotlap.files import why

PAGE = Path(__file__).with_name("page.html")
UPLOAD_BYTES = 20 * 1000**2
PICTURES_A_REQUEST = 32
PICTURES_INSIDE = 64
BYTES_INSIDE = 200 * 1000**2
DRAINED_BYTES = 64 * 1000**2  # of a refused upload read and thrown away, so that its sender hears the answer
UPLOAD_S = 60.0
SHUTDOWN_S = 5
# The page needs nothing from anywhere; its style and script stand in it.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Refused(Exception):
    """A request that gets an error: its HTTP status and the reason."""

    def __init__(self, status: int, reason: str, **headers: str):
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {k.replace("_", "-"): v for k, v in headers.items()}


def needed() -> None:
    """Whether the packages for serving are there.

    Raises:
        UserError: one is not.
    """
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"serving needs the package {error.name}, which is missing; pip install 'hotlap[serve]'"
        ) from None


def app(
    model: Loaded,
    *,
    tta: str = "none",
    upload_bytes: int = UPLOAD_BYTES,
    pictures_inside: int = PICTURES_INSIDE,
    bytes_inside: int = BYTES_INSIDE,
) -> Any:
    """The application (ASGI): `/`, `/predict`, `/healthz`, `/metadata`, and 404 for all else.

    No path of a request is ever a path of the machine. An upload is counted while it arrives; more than
    `upload_bytes` is 413, and of more pictures or bytes at a time than there is room for, some are 503.

    Args:
        model: what answers.
        tta: with which views.
        upload_bytes: of one request.
        pictures_inside, bytes_inside: of all requests together.

    Raises:
        UserError: packages are missing, or the model does not read pictures.
    """
    needed()
    check_channels(model.preprocessing, str(model.path))
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    batcher = Batcher(model, tta)
    gate = Gate(pictures_inside, bytes_inside)
    page, about = PAGE.read_text(encoding="utf-8"), described(model, tta, upload_bytes)

    def error(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
        return JSONResponse({"error": reason}, status, headers)

    async def index(_: Request) -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    async def healthz(_: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "pictures": batcher.pictures,
                "batches": batcher.batches,
                "inside": gate.inside,
                "room": gate.pictures,
            }
        )

    async def metadata(_: Request) -> Response:
        return JSONResponse(about)

    async def predict(request: Request) -> Response:
        try:
            try:
                announced = announced_bytes(request, upload_bytes)
                with gate.enter(1, announced):
                    async with asyncio.timeout(UPLOAD_S):
                        contents = await received(request, upload_bytes)
                    with gate.enter(len(contents) - 1, 0):
                        found = await batcher.answer(contents)
            except Full:
                raise Refused(
                    503, "too many pictures at a time; come again in a second", Retry_After="1"
                ) from None
            except TimeoutError:
                raise Refused(
                    408, f"the upload took more than {UPLOAD_S:.0f} seconds", Connection="close"
                ) from None
        except Refused as refusal:
            waits = "expect" in request.headers  # and sends nothing unless it is told to
            if refusal.status in (413, 503) and (waits or not await drained(request)):
                refusal.headers["Connection"] = "close"
            return error(refusal.status, refusal.reason, refusal.headers)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to read it
        if len(found) == 1 and isinstance(found[0], Failure):
            return error(422, f"{found[0].path}: {found[0].reason}")
        return JSONResponse({"predictions": [as_json(f) for f in found]})

    def http_error(_: Request, found: Exception) -> Response:
        assert isinstance(found, HTTPException)
        reasons = {404: "there is nothing here; see / for a page, and POST pictures to /predict"}
        reasons[405] = "POST pictures to /predict; the other addresses are read with GET"
        return error(
            found.status_code, reasons.get(found.status_code, found.detail), dict(found.headers or {})
        )

    def fault(_: Request, found: Exception) -> Response:
        return error(500, f"an error inside hotlap: {type(found).__name__}")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        batcher.start()
        try:
            yield
        finally:
            await batcher.stop()

    routes = [
        Route("/", index),
        Route("/predict", predict, methods=["POST"]),
        Route("/healthz", healthz),
        Route("/metadata", metadata),
    ]
    handlers: Any = {HTTPException: http_error, Exception: fault}
    made = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    made.router.redirect_slashes = False
    made.state.gate, made.state.batcher = gate, batcher
    return made


def described(model: Loaded, tta: str, upload_bytes: int) -> dict[str, Any]:
    """What `/metadata` says; nothing of the machine."""
    how = model.preprocessing
    return {
        "recipe": model.recipe,
        "classes": list(model.spec.class_names),
        "size": list(how.size),
        "channels": how.channels,
        "fit": how.fit,
        "temperature": model.temperature,
        "views": tta,
        "upload_bytes": upload_bytes,
        "pictures_a_request": PICTURES_A_REQUEST,
        "hotlap": __version__,
    }


def as_json(answer: Prediction | Failure) -> dict[str, Any]:
    """One picture's answer: the classes with the most probable one first, or the error."""
    if isinstance(answer, Failure):
        return {"name": answer.path, "error": answer.reason}
    return {
        "name": answer.path,
        "label": answer.label,
        "probability": answer.probability,
        "probabilities": dict(answer.best(len(answer.probabilities))),
        "remarks": list(answer.remarks),
    }


def announced_bytes(request: Any, limit: int) -> int:
    """How much a request may bring: what it says, or the limit if it does not say.

    Raises:
        Refused: it says more than the limit.
    """
    text = request.headers.get("content-length", "")
    size = int(text) if text.isascii() and text.isdigit() else limit
    if size > limit:
        raise too_large(limit)
    return size


def too_large(limit: int) -> Refused:
    return Refused(413, f"more than {limit / 1e6:g} MB; send smaller pictures, or fewer at a time")


async def received(request: Any, limit: int) -> list[tuple[str, bytes]]:
    """The pictures of a request by name: the files of a form, or the body as one.

    Raises:
        Refused: there are none, too many, or too much of them.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def counted() -> AsyncGenerator[bytes, None]:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large(limit)
            yield part
        request.state.whole = True

    if kind != "multipart/form-data":  # `curl --data-binary` calls a picture a form of another kind
        content = b"".join([part async for part in counted()])
        if not content:
            raise Refused(400, "no picture; send one as the body, or several as multipart/form-data")
        return [("picture", content)]
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    try:
        parser = MultiPartParser(
            request.headers, counted(), max_files=PICTURES_A_REQUEST, max_fields=PICTURES_A_REQUEST
        )
        parser.spool_max_size = limit  # never to the disk
        form = await parser.parse()
    except MultiPartException as failure:
        raise Refused(400, f"a form that does not read ({failure.message.rstrip('.')})") from None
    except (KeyError, ValueError):
        raise Refused(400, "a form that does not read; give multipart/form-data its boundary") from None
    try:
        files = [f for _, f in form.multi_items() if isinstance(f, UploadFile)]
        if not files:
            raise Refused(400, "a form without files; send pictures as files")
        return [(file.filename or f"picture {i + 1}", await file.read()) for i, file in enumerate(files)]
    finally:
        await form.close()


async def drained(request: Any) -> bool:
    """Read and forget the rest of a refused upload, within bounds; whether it came to its end."""
    if getattr(request.state, "whole", False):
        return True
    size = 0
    try:
        async with asyncio.timeout(SHUTDOWN_S):
            while size < DRAINED_BYTES:
                message = await request.receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
                size += len(message.get("body", b""))
    except TimeoutError:
        pass
    return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that hears requests at an address.

    Raises:
        UserError: it cannot be had.
    """
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(kind, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(128)
        except OSError:
            made.close()
            raise
        return made
    except OverflowError:
        raise UserError(f"--port {port}: give 0 to 65535 (0 takes a free one)") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is in use by another program; choose another --port, or 0 for a"
                " free one"
            ) from None
        raise UserError(f"cannot listen at {host}, port {port}: {why(error)}; choose another") from None


def serve(
    model: Loaded,
    listening: socket.socket,
    *,
    tta: str = "none",
    upload_bytes: int = UPLOAD_BYTES,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; requests that are under way then have a few seconds to end.

    Args:
        listening: see `listen`; closed at the end.
        ready: called once requests are answered.
        model, tta, upload_bytes: as in `app`.
    """
    made = app(model, tta=tta, upload_bytes=upload_bytes)
    import uvicorn

    config = uvicorn.Config(
        made,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_S,
        limit_concurrency=1000,
    )
    server = uvicorn.Server(config)
    # uvicorn would raise the signal again at its end, and the process would die of it
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]

    async def go() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await serving

    def stop() -> None:
        server.force_exit = server.should_exit  # a second time: at once
        server.should_exit = True

    try:
        asyncio.run(go())
    finally:
        listening.close()


def address_of(listening: socket.socket) -> str:
    """The address as one types it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
