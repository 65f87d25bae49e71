"""Layouts of model folders: which files describe a model, where its weights are, and what reads them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..config.edit import load_config
from ..config.schema import MAX_YAML, Config
from ..errors import ConfigError, ModelError
from ..unet import UNet
from .pipelines import INDEX, MAX_JSON, SCHEDULER, UNET, load_pipeline_weights, read_pipeline
from .pipelines import WEIGHTS as PIPELINE_WEIGHTS
from .weights import load_weights, read_safetensors

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"


class Layout(NamedTuple):
    """How one kind of model folder is laid out; names are paths inside the folder."""

    described_by: Mapping[str, int]
    """Small files, and how many bytes each may have."""
    weights: str
    read: Callable[[Path, str], tuple[Config, nn.Module]]
    """(folder, reference) -> the config, and the network on the meta device."""
    load: Callable[[nn.Module, Path], nn.Module]
    """(network, weights file) -> the network with these weights, on the CPU."""

    @property
    def files(self) -> tuple[str, ...]:
        return *self.described_by, self.weights


def empty_network(config: Config) -> UNet:
    """The network of a config on the meta device: its names and shapes, and no memory."""
    with torch.device("meta"):
        return UNet(**config.network_arguments())


def _read(folder: Path, reference: str) -> tuple[Config, UNet]:
    try:
        config = load_config(folder / CONFIG)
    except ConfigError as error:  # it may come from anyone: its first fault is enough, in one line
        first, *others = str(error).splitlines()
        raise ModelError(f"{first}{f' (and {len(others):,} more faults)' if others else ''}") from None
    return config, empty_network(config)


def _load(network: UNet, path: Path) -> UNet:
    load_weights(network, read_safetensors(path, network), str(path))
    return network


def _pipeline(unet: str, scheduler: str) -> Layout:
    return Layout(
        {INDEX: MAX_JSON, unet + UNET: MAX_JSON, scheduler + SCHEDULER: MAX_JSON},
        unet + PIPELINE_WEIGHTS,
        lambda folder, reference: read_pipeline(folder / (scheduler + SCHEDULER), folder / (unet + UNET), reference),
        load_pipeline_weights,
    )


LAYOUTS = (Layout({CONFIG: MAX_YAML}, WEIGHTS, _read, _load), _pipeline("unet/", "scheduler/"), _pipeline("", ""))


def layout_in(folder: Path) -> Layout | None:
    """The layout of the model that a folder describes, None if it describes none."""
    return next((layout for layout in LAYOUTS if all((folder / name).is_file() for name in layout.described_by)), None)


def layout_among(names: Container[str]) -> Layout:
    """The layout whose files are all among these; ours if there is none."""
    return next((layout for layout in LAYOUTS if all(name in names for name in layout.files)), LAYOUTS[0])


def layout_at(weights: Path) -> tuple[Layout, Path] | None:
    """The layout that a weights file belongs to, and its folder; None if the files that describe it are missing."""
    for layout in LAYOUTS:
        inside = Path(layout.weights).parent.parts
        folder = Path(*weights.absolute().parent.parts[: -len(inside) or None])
        if weights.absolute().parent == folder.joinpath(*inside) and layout_in(folder) is layout:
            return layout, folder
    return None
