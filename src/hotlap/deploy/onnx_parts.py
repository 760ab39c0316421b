"""What is done with ONNX: a traced program written as a graph, run, and its net quantised to 8 bits."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hotlap.errors import UserError

PLAIN_OPSET = 20  # the first with GELU as one operation
QUANTISED = ("Conv", "Gemm", "MatMul", "MaxPool", "Add", "GlobalAveragePool", "Relu", "Clip")


def onnx_modules() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime, with onnxscript there too.

    Raises:
        UserError: one is missing.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--format onnx and int8 need the package {error.name}, which is missing;"
            " pip install 'hotlap[onnx]', or take --format torch"
        ) from None
    return onnx, onnxruntime


def session(content: bytes, threads: int) -> Any:
    """A graph in ONNX Runtime on the CPU."""
    _, runtime = onnx_modules()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def named(program: torch.export.ExportedProgram, opset: int, facts: dict[str, str]) -> bytes:
    """The program as an ONNX graph with named sides and metadata.

    Raises:
        UserError: the exporter cannot write it in this opset.
    """
    onnx, _ = onnx_modules()
    try:
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=["image"],
            output_names=["probabilities", "logits"],
            verbose=False,
        )
        assert made is not None
        graph = made.model_proto
        onnx.checker.check_model(graph)
    except Exception as error:  # whatever the exporter and its passes raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--opset {opset}: this model cannot be written in it ({reason}); try another"
        ) from None
    if graph.opset_import[0].version != opset:
        raise UserError(
            f"--opset {opset}: this model needs {graph.opset_import[0].version}; give that, or leave it out"
        )
    rename_sides(graph)
    onnx.helper.set_model_props(graph, facts)
    graph.producer_name = "hotlap"
    graph.producer_version = facts["hotlap_version"]
    graph.doc_string = facts["input"]
    content: bytes = graph.SerializeToString()
    return content


def rename_sides(graph: Any) -> None:
    """Call the free sides of inputs and outputs batch, height and width."""
    names = ("batch", "height", "width")
    sides = graph.graph.input[0].type.tensor_type.shape.dim
    called = {side.dim_param: name for side, name in zip(sides, names, strict=False)}
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = called.get(side.dim_param, side.dim_param)
    for node in graph.graph.node:
        del node.metadata_props[:]  # where in whose source the operation was written
        node.doc_string = ""


def calibrated(content: bytes, batches: Sequence[npt.NDArray[np.uint8]]) -> bytes:
    """The graph with its net in 8 bits (quantise and dequantise nodes, weights by channel), the rest as is.

    Activations are unsigned and weights signed, which is what x86 multiplies fastest; where a processor has
    no VNNI, sums of two products may saturate.

    Args:
        batches: images (N, H, W, C) uint8 that the ranges of activations are taken from.
    """
    onnx, _ = onnx_modules()
    from onnxruntime import quantization as q

    graph = onnx.load_model_from_string(content)

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"image": batch}

    with tempfile.TemporaryDirectory(prefix="hotlap-") as folder:
        source, target = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(content)
        q.quantize_static(
            source,
            target,
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=outside_net(graph),
            calibrate_method=q.CalibrationMethod.MinMax,
        )
        made = onnx.load(target)
    props = {p.key: p.value for p in graph.metadata_props}
    onnx.helper.set_model_props(made, props | {"quantised": "int8, QDQ, weights by channel"})
    made.producer_name, made.producer_version = graph.producer_name, graph.producer_version
    held = io.BytesIO()
    onnx.save(made, held)
    return held.getvalue()


def outside_net(graph: Any) -> list[str]:
    """The nodes before the net's first convolution or product by weights, and after its logits."""
    held = {tensor.name for tensor in graph.graph.initializer}
    nodes = list(graph.graph.node)
    first = next(
        i for i, node in enumerate(nodes) if node.op_type in ("Conv", "Gemm") and node.input[1] in held
    )
    last = max(i for i, node in enumerate(nodes) if node.op_type in ("Conv", "Gemm", "MatMul"))
    return [node.name for i, node in enumerate(nodes) if not first <= i <= last]
