"""Pictures from many requests looked at together, by one thread, with a bound on how many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from hotlap.deploy.model import Loaded
from hotlap.deploy.predict import Failure, Prediction, Read, answers, read

Answer = Prediction | Failure


class Full(Exception):
    """There is no room for more pictures; come again in a moment."""


class Gate:
    """How many pictures, and how many bytes of them, may be inside at a time.

    Args:
        pictures, bytes: at most.
    """

    def __init__(self, pictures: int, bytes: int):
        self.pictures, self.bytes = pictures, bytes
        self.inside = self.held = 0

    @contextmanager
    def enter(self, pictures: int, size: int) -> Iterator[None]:
        """Hold room for so many, of so many bytes in all.

        Raises:
            Full: there is none.
        """
        if self.inside + pictures > self.pictures or self.held + size > self.bytes:
            raise Full
        self.inside += pictures
        self.held += size
        try:
            yield
        finally:
            self.inside -= pictures
            self.held -= size


class Batcher:
    """Decodes pictures in a few threads and gives them to the model in batches, in one.

    Args:
        model: what answers.
        tta: with which views.
        batch: pictures a batch at most.
        wait_s: for how long the first one of a batch waits for others.
        decoders: pictures decoded at a time; each may need hundreds of megabytes for a moment.
    """

    def __init__(
        self, model: Loaded, tta: str = "none", batch: int = 32, wait_s: float = 0.004, decoders: int = 2
    ):
        self.model, self.tta, self.batch, self.wait_s = model, tta, batch, wait_s
        self.decoding = ThreadPoolExecutor(decoders, "decode")
        self.looking = ThreadPoolExecutor(1, "model")
        self.waiting: asyncio.Queue[tuple[Read, asyncio.Future[Answer]]] = asyncio.Queue()
        self.batches = self.pictures = 0  # looked at so far
        self.worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work, in the event loop that runs."""
        self.worker = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End the work; who still waits is told so."""
        if self.worker is not None:
            self.worker.cancel()
            with suppress(asyncio.CancelledError):
                await self.worker
        while not self.waiting.empty():
            self.waiting.get_nowait()[1].cancel()
        for pool in (self.decoding, self.looking):
            pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, contents: Sequence[tuple[str, bytes]]) -> list[Answer]:
        """What the model says of files' contents, by name and in their order."""
        return list(await asyncio.gather(*(self._one(name, content) for name, content in contents)))

    async def _one(self, name: str, content: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(self.decoding, read, content, 0, self.model.preprocessing)
        if isinstance(picture, Failure):
            return Failure(name, picture.reason)
        future: asyncio.Future[Answer] = loop.create_future()
        await self.waiting.put((Read(name, picture.pixels, picture.resized_from, picture.remarks), future))
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group = [await self.waiting.get()]
            until = loop.time() + self.wait_s
            while len(group) < self.batch:
                try:
                    group.append(await asyncio.wait_for(self.waiting.get(), max(until - loop.time(), 0)))
                except TimeoutError:
                    break
            pictures = [picture for picture, _ in group]
            try:
                found = await loop.run_in_executor(self.looking, answers, self.model, pictures, self.tta)
            except asyncio.CancelledError:
                for _, future in group:
                    future.cancel()
                raise
            except Exception as error:  # one batch is lost, the server stays
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                continue
            self.batches += 1
            self.pictures += len(group)
            for (_, future), answer in zip(group, found, strict=True):
                if not future.done():  # who asked may have gone
                    future.set_result(answer)
