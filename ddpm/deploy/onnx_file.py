"""A network as ONNX, and whether onnxruntime computes the same with it."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ..errors import ModelError
from ..models import Model
from ..unet import UNet

OPSET = 20
WEIGHTS = {"fp16": torch.float16, "fp32": torch.float32}
TOLERANCE = {"fp16": 2e-2, "fp32": 1e-4}
"""What ``largest_difference`` may find, in an output whose values are of the order of 1."""


def onnx_bytes(model: Model, weights: str = "fp32") -> bytes:
    """The network as ONNX: x (N, C, H, W) and t (N,) to output (N, C, H, W), for any N; y (N,) as well if it has
    classes, and n (N,), the place of the number of steps, if it is distilled.

    ``weights`` fp16 halves the file: each weight is stored in half precision and cast when the network is loaded.

    Raises:
        ModelError: it is a pipeline of diffusers.
    """
    if not isinstance(model.network, UNet):
        raise ModelError(f"{model.source} is a pipeline of diffusers: only this project's own networks become ONNX")
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    inputs = example_inputs(model)
    network = model.network.to("cpu", memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own future
        program = torch.onnx.export(
            network, kwargs=inputs, dynamo=True, input_names=list(inputs), output_names=["output"],
            dynamic_shapes={name: {0: batch} for name in inputs}, verbose=False, opset_version=OPSET,
        )  # fmt: skip
    graph = program.model_proto
    if weights == "fp16":
        _store_in_half_precision(graph.graph)
    return graph.SerializeToString()


def example_inputs(model: Model, count: int = 2) -> dict[str, torch.Tensor]:
    """Inputs of the network for ``count`` images: noise, timesteps over all of T, the classes in turn, no class too."""
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "x": torch.randn(count, *model.config.image_shape, generator=generator),
        "t": torch.linspace(0, model.schedule.num_timesteps - 1, count).long(),
    }
    if model.num_classes:
        inputs["y"] = torch.arange(count) % (model.num_classes + 1)
    if counts := model.config.model.step_counts:
        inputs["n"] = torch.arange(count) % len(counts)
    return inputs


def largest_difference(model: Model, content: bytes, count: int = 11) -> float:
    """Between what onnxruntime and PyTorch compute for ``count`` images.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    inputs = example_inputs(model, count)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.inference_mode():
        expected = model.network(*inputs.values())
    return (torch.from_numpy(output) - expected).abs().max().item()


def _store_in_half_precision(graph: Any) -> None:
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for stored in graph.initializer:
        if stored.data_type == TensorProto.FLOAT and len(stored.dims) > 1:  # biases and norms are few
            name, values = stored.name, numpy_helper.to_array(stored)
            stored.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}_half"))
            casts.append(helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
