"""`hotlap serve`: a page and an address that a saved model answers at."""

from __future__ import annotations

import argparse
from pathlib import Path

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError

EXAMPLES = (
    ("hotlap serve runs/first", "a page to drop pictures on, at port 8000"),
    ("curl --data-binary @photo.jpg localhost:8000/predict", "the same from another program"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("model", type=Path, metavar="RUN", help="a run's folder, or a model.safetensors")
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone; 0.0.0.0 lets others in"
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="0 takes a free one")
    parser.add_argument("--max-upload", type=float, default=20, metavar="MB", help="of one request")
    parser.add_argument("--tta", default="none", metavar="VIEWS", help="none, flip or flip_translate")
    parser.add_argument("--device", default="auto")
    common(parser)


def run(args: argparse.Namespace) -> int:
    if not 0 <= args.port <= 65535:
        raise UserError(f"--port {args.port}: give 0 to 65535 (0 takes a free one)")
    if not 0 < args.max_upload <= 1000:
        raise UserError(f"--max-upload {args.max_upload:g}: give megabytes, above 0 and up to 1000")
    from hotlap.deploy.model import check_tta, open_model
    from hotlap.deploy.serve import address_of, listen, needed, serve

    needed()
    out = Output(args.json)
    tta = check_tta(args.tta)
    listening = listen(args.host, args.port)
    try:
        loaded = open_model(args.model, args.device)
        address = address_of(listening)

        def ready() -> None:
            out.say(f"{args.model} answers at {address} (POST pictures to {address}predict); Ctrl-C ends it")
            if args.host not in ("127.0.0.1", "::1", "localhost"):
                out.note("others on the network can reach it; it asks nobody who they are")
            out.result({"model": str(args.model), "address": address})

        serve(loaded, listening, tta=tta, upload_bytes=round(args.max_upload * 1000**2), ready=ready)
    finally:
        listening.close()
    out.note("stopped")
    return DONE
