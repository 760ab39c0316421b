"""`hotlap train --devices N`: the same command in N processes, started by PyTorch's own launcher."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from typing import Any

from hotlap.cli.output import BAD_INPUT, DONE, INTERNAL, INTERRUPTED, LAUNCHED, MISSED
from hotlap.errors import UserError
from hotlap.machine.processor import check_threads, processors


def launch(args: argparse.Namespace) -> int:
    """Start the processes and wait for them.

    Returns:
        what rank 0 came to.

    Raises:
        UserError: more than there are devices for; or one of them was lost.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    cuda = args.device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda and args.devices > torch.cuda.device_count():
        raise UserError(
            f"--devices {args.devices}: there are {torch.cuda.device_count()} CUDA devices; give as many, or"
            " --device cpu"
        )
    if not cuda:
        check_threads(args.devices, "--devices")
    threads = args.threads or max(1, processors() // args.devices)
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else the launcher gives each a single one
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.launcher").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=args.devices,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "hotlap", *args.words)
    except ChildFailedError as error:
        return failed(error.failures, args)
    except (KeyboardInterrupt, SystemExit):
        return INTERRUPTED
    except Exception as error:  # the launcher's own word for a signal that ended it
        if type(error).__name__ == "SignalException":
            return INTERRUPTED
        raise
    return DONE


def failed(failures: dict[int, Any], args: argparse.Namespace) -> int:
    """What it means that some ended otherwise than well: rank 0 has said it, or one was lost."""
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    # the launcher ends the others with SIGTERM
    lost = [
        (f.timestamp, rank)
        for rank, f in failures.items()
        if f.exitcode < 0 and f.exitcode != -signal.SIGTERM
    ]
    if not lost:
        said = (BAD_INPUT, MISSED, INTERRUPTED, INTERNAL)
        return next((codes[rank] for rank in sorted(codes) if codes[rank] in said), INTERNAL)
    rank = min(lost)[1]
    name = signal.Signals(-codes[rank]).name
    where = args.resume or args.out
    go_on = f"hotlap train --resume {where} --devices {args.devices}" if where else "--resume its folder"
    print(
        f"hotlap: rank {rank} of {args.devices} was lost ({name}); the others were stopped; from the last"
        f" saved state go on with: {go_on}",
        file=sys.stderr,
    )
    return INTERNAL
