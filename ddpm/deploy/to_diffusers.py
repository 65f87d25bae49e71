"""A model as a folder that diffusers loads: a plain UNet2DModel where ours is one, else a pipeline of its own.

A UNet without classes, stem or patches computes what ``UNet2DModel`` computes, so that ``DDIMPipeline`` samples it. For
all others the folder holds a pipeline and the network's source, which diffusers runs if it is told to trust them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import unet
from ..config.schema import Config
from ..errors import ModelError
from ..files import write_text
from ..media.document import render
from ..models import Model
from ..storage.pipelines import INDEX, PREDICTIONS, SCHEDULER, UNET, WEIGHTS
from ..storage.weights import write_tensors
from ..unet import GROUPS, UNet

OWN = Path(__file__).parent / "diffusers_files"
VERSION = "0.42.1"  # of diffusers, with which this is tried
SPACINGS = ("leading", "linspace", "trailing")  # that diffusers has too
NAMES = (
    (r"^time_mlp\.0\.", "time_embedding.linear_1."),
    (r"^time_mlp\.2\.", "time_embedding.linear_2."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^(down|up)\.(\d+)\.(\d+)\.res\.", r"\1_blocks.\2.resnets.\3."),
    (r"^(down|up)\.(\d+)\.(\d+)\.attention\.", r"\1_blocks.\2.attentions.\3."),
    (r"^downsample\.(\d+)\.", r"down_blocks.\1.downsamplers.0.conv."),
    (r"^upsample\.(\d+)\.conv\.", r"up_blocks.\1.upsamplers.0.conv."),
    (r"^middle1\.res\.", "mid_block.resnets.0."),
    (r"^middle1\.attention\.", "mid_block.attentions.0."),
    (r"^middle2\.res\.", "mid_block.resnets.1."),
    (r"(\.resnets\.\d+)\.film\.", r"\1.time_emb_proj."),
    (r"(\.resnets\.\d+)\.skip\.", r"\1.conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.out\.", r"\1.to_out.0."),
)
"""From the names of our tensors to those of UNet2DModel."""


def write_pipeline(model: Model, folder: Path) -> list[str]:
    """Write a model as a pipeline of diffusers; returns why it needs a pipeline of its own, [] if it does not.

    Raises:
        ModelError: it is a pipeline of diffusers already.
    """
    if not isinstance(model.network, UNet):
        raise ModelError(f"{model.source} is a pipeline of diffusers already")
    reasons = why_its_own(model.config)
    index, network, weights = _its_own(model) if reasons else _plain(model)
    scheduler = ["diffusers", "DDIMScheduler"]
    _write_json(folder / INDEX, {"_diffusers_version": VERSION, **index, "scheduler": scheduler})
    _write_json(folder / "scheduler" / SCHEDULER, scheduler_config(model))
    _write_json(folder / "unet" / UNET, {"_diffusers_version": VERSION, **network})
    write_tensors(weights, folder / "unet" / WEIGHTS)
    if reasons:
        write_text(folder / "pipeline.py", (OWN / "pipeline.py").read_text(encoding="utf-8"))
        write_text(folder / "unet" / "lab_unet.py", _network_source())
    sampling = model.config.sampling
    write_text(
        folder / "README.md",
        render("diffusers.md.j2", {"model": model, "reasons": reasons, "version": VERSION,
                                   "same_steps": sampling.spacing in SPACINGS}),
    )  # fmt: skip
    return reasons


def why_its_own(config: Config) -> list[str]:
    """What UNet2DModel and DDIMPipeline lack for a model, in a few words each; [] if it maps onto them exactly."""
    model = config.model
    size = config.data.image_size // model.patch_size
    attended = [m for level, m in enumerate(model.channel_mult) if size // 2**level in model.attention_resolutions]
    found = {
        "classes": model.num_classes > 0,
        "patches (model.patch_size)": model.patch_size > 1,
        "a stem (model.stem_channels)": model.stem_channels > 0,
        "few steps that were learned (model.step_counts)": bool(model.step_counts),
        "a first level wider than base_channels": model.channel_mult[0] != 1,
        "attention narrower than a head": any(m * model.base_channels < model.head_channels for m in attended),
        "u-prediction": config.diffusion.prediction_type not in PREDICTIONS.values(),
    }
    return [what for what, has in found.items() if has]


def scheduler_config(model: Model) -> dict[str, Any]:
    """The config of a DDIMScheduler with the model's own betas."""
    config, kinds = model.config, {ours: theirs for theirs, ours in PREDICTIONS.items()}
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": VERSION,
        "num_train_timesteps": model.schedule.num_timesteps,
        "beta_schedule": "linear",  # not asked, since the betas are given
        "trained_betas": model.schedule.betas.tolist(),
        "prediction_type": kinds.get(config.diffusion.prediction_type, "sample"),  # the pipeline turns u into x0
        "clip_sample": config.sampling.clip,
        "clip_sample_range": 1.0,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": config.sampling.spacing if config.sampling.spacing in SPACINGS else "trailing",
    }


def _plain(model: Model) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    config = model.config.model
    levels, size = len(config.channel_mult), model.config.data.image_size
    attends = [size // 2**level in config.attention_resolutions for level in range(levels)]
    network = {
        "_class_name": "UNet2DModel",
        "sample_size": size,
        "in_channels": model.config.data.channels,
        "out_channels": model.config.data.channels,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "down_block_types": ["AttnDownBlock2D" if has else "DownBlock2D" for has in attends],
        "up_block_types": ["AttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attends)],
        "add_attention": attends[-1],
        "block_out_channels": [m * config.base_channels for m in config.channel_mult],
        "layers_per_block": config.num_res_blocks,
        "dropout": config.dropout,
        "attention_head_dim": config.head_channels,
        "norm_num_groups": GROUPS,
        "attn_norm_num_groups": GROUPS,
        "resnet_time_scale_shift": "scale_shift",
    }
    weights = {}
    for name, value in model.network.state_dict().items():
        for ours, theirs in NAMES:
            name = re.sub(ours, theirs, name)
        if ".attentions." in name and value.ndim == 4:  # a convolution with 1x1 pixels: they have the linear layer
            value = value[:, :, 0, 0]
        parts = value.chunk(3) if ".qkv." in name else [value]
        kinds = ("to_q", "to_k", "to_v") if ".qkv." in name else ("qkv",)
        weights |= {name.replace("qkv", kind): part.clone() for kind, part in zip(kinds, parts, strict=True)}
    return {"_class_name": "DDIMPipeline", "unet": ["diffusers", "UNet2DModel"]}, network, weights


def _its_own(model: Model) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    config, sampling = model.config, model.config.sampling
    index = {
        "_class_name": ["pipeline", "LabPipeline"],
        "unet": ["lab_unet", "LabUNet"],
        "predicts": config.diffusion.prediction_type,
        "num_inference_steps": sampling.num_steps,
        "guidance_scale": sampling.guidance_scale,
        "guidance_interval": sampling.guidance_interval,
    }
    return index, {"_class_name": "LabUNet", **config.network_arguments()}, dict(model.network.state_dict())


def _network_source() -> str:
    """The UNet and its class of diffusers in one file, which needs no ddpm."""
    network = Path(unet.__file__).read_text(encoding="utf-8")
    imported, own = "from ddpm.unet import UNet\n", (OWN / "lab_unet.py").read_text(encoding="utf-8")
    _, _, code = own.partition('"""\n')
    return network + code.replace(imported, "")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")
