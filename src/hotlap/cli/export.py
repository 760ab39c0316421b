"""`hotlap export`: a saved model as one file that runs without hotlap."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError, did_you_mean

FORMATS = ("onnx", "torch", "int8")


EXAMPLES = (
    ("hotlap export runs/first", "ONNX, with resizing and all inside it"),
    ("hotlap export runs/first --format int8", "8 bits, calibrated on training images"),
    ("hotlap export runs/first --format torch --out first.pt2", "a torch.export program"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("model", type=Path, metavar="RUN", help="a run's folder, or a model.safetensors")
    parser.add_argument(
        "--format",
        default="onnx",
        metavar="F",
        help="onnx, int8 (ONNX in 8 bits, calibrated on training images) or torch (a torch.export program)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: RUN/export/model.onnx, .int8.onnx or .pt2"
    )
    parser.add_argument("--opset", type=int, default=20, metavar="N", help="of ONNX, 18 to 23 (default: 20)")
    parser.add_argument("--data", metavar="SRC", help="images to check the file on; default: the run's")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads to measure with")
    common(parser)


def run(args: argparse.Namespace) -> int:
    if args.format not in FORMATS:
        near = did_you_mean(args.format, FORMATS)
        raise UserError(f"--format {args.format}: no such format{near}; there are {', '.join(FORMATS)}")
    from hotlap.deploy.export import export
    from hotlap.machine.device import prepare

    out = Output(args.json)
    prepare("cpu", args.threads)
    made = export(
        args.model,
        args.format,
        args.out,
        opset=args.opset,
        data=args.data,
        data_dir=args.data_dir,
        notify=out.note,
    )
    kind = "torch.export program" if made.opset is None else f"ONNX, opset {made.opset}"
    out.columns(
        [
            ("file:", f"{made.file} ({made.bytes / 1e6:.1f} MB, {kind}; one view of an image)"),
            ("check:", made.parity),
            ("speed:", made.speed),
            ("card:", made.card),
        ]
    )
    out.result(asdict(made))
    return DONE
