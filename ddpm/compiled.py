"""A network compiled into few kernels, which CUDA replays as graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .errors import DDPMError, one_line


class Compiled(nn.Module):
    """What ``torch.compile`` makes of a network: the same parameters, and the same output but for rounding.

    The first call with a shape, and the first backward pass, take a minute or more. Worth it for a long training or for
    thousands of images on a GPU, where launching the many small kernels of a small network takes longer than they do.

    Args:
        network: (x_t, t, y) -> output.
        graphs: whether CUDA replays the kernels of a call as one graph. Off where processes train together: beside
            DistributedDataParallel, graphs have crashed (https://github.com/pytorch/pytorch/issues/128218).

    Raises:
        DDPMError: at a call, where this machine has nothing to compile with.
    """

    def __init__(self, network: nn.Module, *, graphs: bool = True):
        super().__init__()
        self.network = network
        self.graphs = graphs and next(network.parameters()).device.type == "cuda"
        mode = "reduce-overhead" if self.graphs else None
        self._call = torch.compile(network, fullgraph=True, mode=mode).__call__  # not a module with the same weights

    @property
    def null_label(self) -> int | None:
        return self.network.null_label

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Shapes as in ``ddpm.unet.UNet``."""
        try:
            output = self._call(x, t, y)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise DDPMError(
                f"the network cannot be compiled here ({one_line(error.inner_exception)}): torch.compile needs a C++ "
                "compiler, for a GPU Triton as well; without it, leave training.compile or --compile out"
            ) from None
        # A graph writes its output to the same place every time, and a sampler's caller may keep a step.
        return output.clone() if self.graphs and not torch.is_grad_enabled() else output
