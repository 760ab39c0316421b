"""`hotlap predict`: class names and probabilities for image files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from hotlap.cli.arguments import common
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a run's folder, or a model.safetensors")
    parser.add_argument("images", nargs="+", help="files, folders or glob patterns")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes to print for each image")
    parser.add_argument("--tta", default="none", metavar="VIEWS", help="none, flip or flip_translate")
    parser.add_argument("--device", default="auto")
    common(parser)


def run(args: argparse.Namespace) -> int:
    if args.top < 1:
        raise UserError(f"--top {args.top}: give 1 or more")
    from hotlap.deploy.predict import predict

    out = Output(args.json)
    found = predict(args.model, args.images, tta=args.tta, device=args.device)
    rows = []
    for p in found:
        best = sorted(p.probabilities.items(), key=lambda kv: -kv[1])[: args.top]
        rows.append((p.path, "  ".join(f"{name} {100 * share:.1f}%" for name, share in best)))
    out.columns(rows)
    resized = [p for p in found if p.resized_from]
    if resized:
        h, w = resized[0].resized_from or (0, 0)
        some = f"{len(resized)} of {len(found)} images were" if len(found) > 1 else "the image was"
        out.note(f"{some} resized to the model's size (bicubic; {resized[0].path} from {h}x{w})")
    out.result({"model": str(args.model), "tta": args.tta, "predictions": [asdict(p) for p in found]})
    return DONE
