"""The part of a report that tells of the model: its config and network, and on what and how it was trained."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..config.edit import config_to_yaml
from ..errors import DDPMError
from ..jobs import read_status
from ..models import without_places
from ..unet import Attention, ResBlock

if TYPE_CHECKING:
    from ..models import Model
    from .subject import Subject


def model_details(subject: Subject) -> dict[str, Any]:
    """The model and its config, of which every template shows something."""
    model, config = subject.model, subject.model.config
    blocks = [module for module in model.network.modules() if isinstance(module, ResBlock)]
    attention = _attention_sizes(model)
    size = config.data.image_size
    return {
        "model": model,
        "reference": subject.model.reference,
        "config": config,
        "yaml": config_to_yaml(without_places(config)).strip(),
        "classes": config.class_names,
        "prediction": config.diffusion.prediction_type,
        "image_size": f"{size} x {size}",
        "network": type(model.network).__name__,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "architecture": {
            "blocks": len(blocks),
            "channels": sorted({block.conv2.out_channels for block in blocks}),
            "attention": len(attention),
            "maps": [f"{size} x {size}" for size in sorted({size for size, _ in attention})],
            "heads": sorted({heads for _, heads in attention}),
        },
    }


@torch.inference_mode()
def _attention_sizes(model: Model) -> list[tuple[int, int]]:
    """Feature-map size and heads of every attention layer that an image passes through."""
    seen: list[tuple[int, int]] = []
    layers = [module for module in model.network.modules() if isinstance(module, Attention)]
    hooks = [layer.register_forward_hook(lambda layer, inputs, _: seen.append((inputs[0].shape[-1], layer.heads)))
             for layer in layers]  # fmt: skip
    try:
        x = torch.zeros(1, *model.config.image_shape, device=model.device)
        model.denoiser(num_steps=model.config.sampling.num_steps)(
            x, torch.zeros(1, dtype=torch.long, device=model.device)
        )
    finally:
        deque((hook.remove() for hook in hooks), maxlen=0)
    return seen


def training_details(subject: Subject) -> dict[str, Any]:
    """On what the training ran, and how it went, where its records are kept."""
    made_on, history = subject.checkpoint.get("made_on"), subject.history
    values = {"training": subject.model.config.training, "made_on": made_on if isinstance(made_on, dict) else None}
    if isinstance(history, DDPMError) or not history.training:
        return values | {"course": None}
    speed = float(np.median(history.column("images_per_second")))
    status = read_status(subject.run) if subject.run else None
    return values | {"course": {"last": history.training[-1], "speed": speed, "status": status}}
