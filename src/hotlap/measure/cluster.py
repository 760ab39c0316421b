"""Many runs over many machines, by Ray: workers that keep what they have made, jobs handed to who is free.

Ray starts processes, brings data to them once a machine, and says which of them were lost. What is done is
the caller's as soon as it comes, so nothing is lost with the cluster and nothing is done twice.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

from hotlap.errors import UserError
from hotlap.files import Notify, silent
from hotlap.machine.processor import processors

J = TypeVar("J", bound=tuple[Any, ...])
MOST_LOST = 8  # workers that may be lost with the same job, before the job is what loses them


def need_ray() -> None:
    """Refuse where Ray is missing, before anything is measured.

    Raises:
        UserError: with the line that installs it.
    """
    if find_spec("ray") is None:
        raise UserError("--engine ray: Ray is not installed; pip install 'hotlap[ray]'")


class Cluster:
    """A connection to a Ray cluster, or one of this machine's own that lives as long. A context manager.

    Args:
        address: of a cluster, as `ray.init` takes it; None starts one here.
        workers: how many; None is one for each `threads` of a processor, or one a GPU.
        threads: CPU threads of each.
        gpu: whether each has a GPU of its own.
        notify: told when a worker is lost.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        threads: int = 1,
        gpu: bool = False,
        notify: Notify = silent,
    ):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        need_ray()
        import ray

        self.ray, self.threads, self.gpu, self.notify = ray, threads, gpu, notify
        settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if address is None:
            settings |= {"num_cpus": processors(), "include_dashboard": False}
        try:
            ray.init(address=address, **settings)
        except Exception as error:  # whatever Ray says of a cluster that is not there
            why = " ".join(str(error).split())[:200]
            raise UserError(
                f"--address {address}: {why}; give that of a running cluster, or none to use this machine"
                if address
                else f"--engine ray: Ray does not start here: {why}"
            ) from None
        there = ray.cluster_resources()
        fit = int(there.get("GPU", 0)) if gpu else int(there.get("CPU", 1)) // threads
        self.workers = workers or max(1, fit)
        if self.workers > max(1, fit):
            what = "GPUs" if gpu else f"processors for {threads} threads each"
            self.close()
            raise UserError(
                f"--workers {self.workers}: the cluster has {fit} {what}; give 1 to {max(1, fit)}"
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *what: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, and the cluster if it was started here."""
        self.ray.shutdown()

    def work(
        self, make: Callable[[Any], Callable[..., Any]], shared: Any, jobs: Sequence[J]
    ) -> Iterator[tuple[J, Any]]:
        """Every job and what came of it, as it is done.

        Args:
            make: called once in each worker with `shared`, which is brought to each machine once; it
                returns the function that does jobs.
            jobs: arguments of that function.

        Raises:
            UserError: as a job raises it, or for a job that every worker is lost with.
        """
        ray, errors = self.ray, self.ray.exceptions
        held = ray.put(shared)
        actor = ray.remote(num_cpus=self.threads, num_gpus=int(self.gpu))(Worker)

        def new() -> Any:
            return actor.remote(make, held, self.threads)

        left, lost = deque(jobs), Counter[int]()
        free = [new() for _ in range(min(self.workers, len(jobs)))]
        going: dict[Any, tuple[Any, J]] = {}
        while left or going:
            while free and left:
                worker, job = free.pop(), left.popleft()
                going[worker.do.remote(job)] = worker, job
            for done in ray.wait(list(going), num_returns=1, timeout=5.0)[0]:
                worker, job = going.pop(done)
                try:
                    found = ray.get(done)
                except errors.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, UserError) else error) from None
                except errors.RayError as error:
                    lost[id(job)] += 1
                    if lost[id(job)] >= MOST_LOST:
                        raise UserError(
                            f"--engine ray: {MOST_LOST} workers were lost with one run:"
                            f" {' '.join(str(error).split())[:200]}"
                        ) from None
                    self.notify("a worker was lost; its run is done again")
                    left.appendleft(job)
                    free.append(new())
                else:
                    free.append(worker)
                    yield job, found


class Worker:
    """A process of the cluster: what it has made of the shared data, and the jobs it does with it."""

    def __init__(self, make: Callable[[Any], Callable[..., Any]], shared: Any, threads: int):
        from hotlap.machine.device import prepare

        prepare("cpu", min(threads, processors()))
        self.run = make(shared)

    def do(self, job: tuple[Any, ...]) -> Any:
        return self.run(*job)
