"""Unconditional diffusers pipelines, opened as models: a UNet2DModel, and the betas of its scheduler.

A folder as ``DDPMPipeline.save_pretrained`` writes it: ``model_index.json``, and the two parts in ``unet/`` and
``scheduler/`` or, as in old repos, beside it. Only JSON and safetensors are read. The package diffusers builds the
network and its schedule; it must be installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from ..config.data_section import DataConfig
from ..config.schema import Config, check_num_steps
from ..config.section import Section
from ..config.sections import SamplingConfig
from ..errors import ModelError, one_line
from ..schedule import NoiseSchedule
from .weights import brief, check_finite, read_header

if TYPE_CHECKING:
    from diffusers import UNet2DModel

INDEX = "model_index.json"
STEM = "diffusion_pytorch_model"
UNET, SCHEDULER, WEIGHTS = "config.json", "scheduler_config.json", f"{STEM}.safetensors"
MAX_JSON = 200_000  # bytes; a scheduler with a list of 1,000 betas has 25,000
NOISE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


# -- what the files say --------------------------------------------------------------------------------------------


class UNetFile(Section, extra="ignore"):
    """What must be known about a UNet2DModel before it is built; diffusers reads the rest."""

    class_name: Literal["UNet2DModel"] = Field(alias="_class_name")
    sample_size: int = Field(ge=4, le=512)
    in_channels: Literal[1, 3]
    out_channels: Literal[1, 3]
    num_class_embeds: None = None
    class_embed_type: None = None
    block_out_channels: tuple[int, ...] = Field(max_length=10)
    layers_per_block: int = Field(2, ge=1, le=16)

    @model_validator(mode="after")
    def _gives_what_it_takes(self):
        if self.in_channels != self.out_channels:
            raise ValueError(f"out_channels must be in_channels, {self.in_channels}, got {self.out_channels}")
        return self


class SchedulerFile(Section, extra="ignore"):
    """What must be known about any scheduler that noises by betas."""

    num_train_timesteps: int = Field(1000, ge=2, le=10_000)
    beta_schedule: str
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    use_flow_sigmas: Literal[False] = False
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    thresholding: bool = False
    sample_max_value: float = 1.0

    @model_validator(mode="after")
    def _clips_to_the_range_of_images(self):
        if self.thresholding and self.sample_max_value != 1:
            raise ValueError(
                f"thresholding (dynamic, up to sample_max_value {self.sample_max_value:g}) is not supported: "
                "set it to false to sample with x0 clipped to -1..1"
            )
        if self.clips and not self.thresholding and self.clip_sample_range != 1:
            raise ValueError(
                f"clip_sample_range {self.clip_sample_range:g} is not supported: set it to 1, or clip_sample to false"
            )
        return self

    @property
    def clips(self) -> bool:
        """Whether x0 is clipped to -1..1; dynamic thresholding amounts to that if it has no room above 1."""
        return self.thresholding or self.clip_sample


# -- as one of our models --------------------------------------------------------------------------------------------


class UnknownData(Section):
    """Images of which only the format is known."""

    dataset: Literal["unknown"] = "unknown"
    image_size: int
    channels: Literal[1, 3]


class GivenSchedule(Section):
    """A schedule by its betas."""

    betas: tuple[float, ...]

    @property
    def num_timesteps(self) -> int:
        return len(self.betas)

    def build(self) -> NoiseSchedule:
        return NoiseSchedule.from_betas(torch.tensor(self.betas, dtype=torch.float64))


class Unconditional(Section):
    num_classes: Literal[0] = 0
    step_counts: tuple[()] = ()


class PipelineConfig(Config):
    """How to sample a pipeline. Nothing is known about its training: ``training`` holds defaults that nobody used."""

    data: UnknownData | DataConfig
    schedule: GivenSchedule
    model: Unconditional = Unconditional()

    @model_validator(mode="after")
    def _sections_fit_each_other(self):
        check_num_steps(self.sampling.num_steps, self.schedule.num_timesteps)
        return self


class PipelineNetwork(nn.Module):
    """A UNet2DModel that stands in for ``ddpm.unet.UNet``: (x_t, t, None) -> output."""

    null_label = None

    def __init__(self, unet: UNet2DModel):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, y: None = None) -> Tensor:
        return self.unet(x, t, return_dict=False)[0]


# -- opening -------------------------------------------------------------------------------------------------------


def read_pipeline(scheduler: Path, unet: Path, reference: str) -> tuple[PipelineConfig, PipelineNetwork]:
    """The config of a pipeline, and its network on the meta device, from its two JSON files.

    Raises:
        ModelError: diffusers is not installed, or this is not an unconditional pixel pipeline; names file and field.
    """
    described, noise = _read(unet, UNetFile), _read(scheduler, SchedulerFile)
    betas = _built(scheduler, "DDPMScheduler", {key: value for key, value in _json(scheduler).items() if key in NOISE})
    with torch.device("meta"):
        network = PipelineNetwork(_built(unet, "UNet2DModel", _json(unet)))
    config = PipelineConfig(
        name=_folder_name(reference),
        data=UnknownData(image_size=described.sample_size, channels=described.in_channels),
        schedule=GivenSchedule(betas=tuple(betas.betas.tolist())),
        diffusion={"prediction_type": PREDICTIONS[noise.prediction_type]},
        sampling=SamplingConfig(num_steps=min(50, noise.num_train_timesteps), clip=noise.clips),
    )
    return config, network


def load_pipeline_weights(network: PipelineNetwork, path: Path) -> PipelineNetwork:
    """The network with the weights of a file; diffusers knows the names that tensors had in its older versions.

    Raises:
        ModelError: the file is damaged, or belongs to another network.
    """
    if path.name != WEIGHTS:
        raise ModelError(f"{path} is not the weights file of its pipeline, which is called {WEIGHTS}")
    has = sum(torch.Size(info.shape).numel() for info in read_header(path).values())
    wanted = sum(value.numel() for value in network.state_dict().values())
    if has != wanted:
        raise ModelError(f"{path} does not fit its config: it holds {has:,} numbers, the network {wanted:,}")
    try:
        unet, info = _diffusers().UNet2DModel.from_pretrained(
            path.parent, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True,
            low_cpu_mem_usage=False, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{path} is damaged or does not fit its config: {brief(error)}") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        for key in sorted(info[kind], key=str):
            raise ModelError(f"{path} does not fit its config: {kind.replace('_keys', '')} {brief(key)}")
    check_finite(unet.state_dict(), str(path))
    return PipelineNetwork(unet)


def why_no_weights(names: Iterable[str]) -> str | None:
    """Why a pipeline's weights, stored otherwise than in ``WEIGHTS``, are not read; None if there are no such files."""
    found = [name.rpartition("/")[2] for name in names]
    if WEIGHTS in found:
        return None
    if any(re.fullmatch(rf"{STEM}(\.\w+)?-\d+-of-\d+\.safetensors", name) for name in found):
        return (
            "its weights are split over several files (sharded), and only one is read: save it again with "
            'pipeline.save_pretrained(folder, max_shard_size="100GB")'
        )
    variants = [match[1] for name in found if (match := re.fullmatch(rf"{STEM}\.(\w+)\.safetensors", name))]
    if variants:
        return (
            f"its weights exist only as the variant {variants[0]}, which is not read: save it again with "
            f'DDPMPipeline.from_pretrained(folder, variant="{variants[0]}").save_pretrained(other_folder)'
        )
    if f"{STEM}.bin" in found:
        return (
            f"its weights are a pickle ({STEM}.bin), which is never read: save it again with diffusers, which writes "
            "safetensors"
        )
    return None


def _folder_name(reference: str) -> str:
    """The last part of a path or of hf://user/repo@revision, as a config may be called."""
    last = reference.rstrip("/").rpartition("/")[2].partition("@")[0]
    return re.sub(r"[^a-z0-9_-]+", "-", last.lower()).lstrip("-_")[:64] or "pipeline"


def _read(path: Path, kind: type[Section]) -> Any:
    try:
        return kind.model_validate(_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        got = "" if isinstance(first["input"], dict) else f", got {brief(first['input'])}"
        raise ModelError(
            f"{path} is of no unconditional pipeline of pixels: {f'{field}: ' if field else ''}{said}{got}"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON:
            raise ModelError(f"{path} has more than {MAX_JSON:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(one_line(error)) from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is no JSON") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold an object")
    return found


def _built(path: Path, kind: str, given: dict[str, Any]) -> Any:
    """A part as diffusers builds it from the content of its file."""
    try:
        return getattr(_diffusers(), kind).from_config(given)
    except ModelError:
        raise
    except Exception as error:  # diffusers checks little: a wrong value may end in anything, a NameError included
        raise ModelError(f"diffusers cannot build what {path} says: {brief(error)}") from None


def _diffusers() -> Any:
    try:
        from .. import torchvision_cpu  # noqa: F401, I001  before diffusers, which imports torchvision
        import diffusers
    except ImportError:
        raise ModelError("this is a pipeline of diffusers; to open it: pip install diffusers") from None
    return diffusers
