"""Who does a verb's runs: this process, or the workers of a Ray cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hotlap.errors import UserError

if TYPE_CHECKING:
    from hotlap.files import Notify
    from hotlap.measure.cluster import Cluster


def engines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who does the runs: this process one after another, or a Ray cluster's workers (default: local)",
    )
    parser.add_argument(
        "--address", metavar="ADDR", help="of a Ray cluster (default: one on this machine, for the purpose)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="at a time, each of --threads (default: as many as fit)"
    )


def check_engine(args: argparse.Namespace) -> None:
    for option in ("address", "workers"):
        if getattr(args, option) is not None and args.engine == "local":
            raise UserError(f"--{option}: is of a cluster; give --engine ray too")
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers}: give 1 or more")
    if args.engine == "ray":
        from hotlap.measure.cluster import need_ray

        need_ray()


def cluster_of(args: argparse.Namespace, device: str, notify: Notify) -> Cluster:
    """The cluster that the options name. A context manager.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    from hotlap.measure.cluster import Cluster

    return Cluster(args.address, args.workers, args.threads or 1, device.startswith("cuda"), notify)
