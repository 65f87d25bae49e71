"""The exporter of ONNX takes half a minute for a network, and makes the same graph of it every time."""

import hashlib
from types import SimpleNamespace

import pytest
import torch


def keep_exported(patch: pytest.MonkeyPatch) -> None:
    """Export each network once; ``torch.onnx.export`` then returns copies of its graph."""
    from onnx import ModelProto

    export, kept = torch.onnx.export, {}

    def once(network, *arguments, **how):
        content = str(network).encode() + b"".join(value.numpy().tobytes() for value in network.state_dict().values())
        name = hashlib.sha256(content).digest()
        if name not in kept:
            kept[name] = export(network, *arguments, **how).model_proto.SerializeToString()
        return SimpleNamespace(model_proto=ModelProto.FromString(kept[name]))

    patch.setattr(torch.onnx, "export", once)
