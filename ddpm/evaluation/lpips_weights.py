"""LPIPS (Zhang et al. 2018) and where its AlexNet comes from.

The lpips package holds its own linear layers but not torchvision's AlexNet below them, 233 MB. That is looked for at a
given path, in torch's cache, and on the network, in this order. Any other weights would give numbers that are not
LPIPS, so the file must be torchvision's own, by its hash.
"""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ConfigError, MetricError, one_line
from ..files import atomic_write

FILE = "alexnet-owt-7be5be79.pth"  # the hash is in the name, as torch.hub has it
URL = f"https://download.pytorch.org/models/{FILE}"
SHA256_PREFIX = "7be5be79"
VARIABLE = "DDPM_LPIPS_WEIGHTS"
TIMEOUT = 5.0  # seconds, to connect and for every read

Distance = Callable[[Tensor, Tensor], Tensor]


def load_lpips(path: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Distance:
    """LPIPS version 0.1 on AlexNet: the distance (B, 1, 1, 1) of two batches (B, 3, H, W) in [-1, 1].

    Args:
        path: torchvision's AlexNet weights; else $DDPM_LPIPS_WEIGHTS, torch's cache, the network.
        say: is told when a download begins.

    Raises:
        MetricError: no weights anywhere.
        ConfigError: the path that was given holds none.
    """
    given = path or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    file = given or Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if given and not given.is_file():
        raise ConfigError(f"LPIPS weights {given}: no such file")
    if not file.is_file():
        _download(file, say)
    if not _is_genuine(file):
        kind, remedy = (ConfigError, "name another file") if given else (MetricError, "delete it")
        raise kind(f"{file} is not torchvision's {FILE}, whose SHA-256 begins with {SHA256_PREFIX}: {remedy}")
    return with_backbone(random_lpips(), torch.load(file, map_location="cpu", weights_only=True))


def _is_genuine(file: Path) -> bool:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest().startswith(SHA256_PREFIX)


def random_lpips() -> nn.Module:
    """The lpips package's linear layers above an AlexNet of random weights: what it gives must never be reported."""
    from .. import torchvision_cpu  # noqa: F401, I001  before lpips, which imports torchvision
    import lpips

    return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval().requires_grad_(False)


def with_backbone(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Put torchvision's AlexNet ``weights`` below the linear layers of ``network``."""
    for name, parameter in network.net.named_parameters():
        # "slice2.3.weight" is layer 3 of torchvision's "features".
        parameter.copy_(weights["features." + name.split(".", 1)[1]])
    return network


def _download(target: Path, say: Callable[[str], None]) -> None:
    folder = target.parent
    shown = f"~/{folder.relative_to(Path.home())}" if folder.is_relative_to(Path.home()) else folder
    remedy = f"put {URL} into {shown}, or name the file with --lpips-weights or ${VARIABLE}"
    response = _open_in_time(URL, TIMEOUT)
    if isinstance(response, OSError):
        raise MetricError(f"LPIPS needs AlexNet's weights, which are not here and could not be downloaded "
                          f"({one_line(response)}): {remedy}")  # fmt: skip
    say(f"downloading AlexNet's weights (233 MB) to {target}")
    try:
        with response, atomic_write(target) as temporary, open(temporary, "wb") as file:
            while block := response.read(1 << 20):
                file.write(block)
            file.flush()
            if not _is_genuine(temporary):  # http.client does not tell a short answer from a whole one
                raise OSError("the file is not whole")
    except OSError as error:
        raise MetricError(f"the download of AlexNet's weights broke off ({one_line(error)}): {remedy}") from None


def _open_in_time(url: str, seconds: float):
    """An open response, or the OSError that prevented it; urllib's own time limit leaves the name's look-up out."""
    found: list = [TimeoutError(f"no answer in {seconds:g} s")]

    def connect() -> None:
        try:
            found.append(urllib.request.urlopen(url, timeout=seconds))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[-1]
