"""The cost of one network evaluation of one image, computed without running it: multiply-accumulates and memory.

A network of a few thousand parameters may compare each of a million pixels with every other, so its operations are
traced, with PyTorch's fake tensors, which have shapes and no values.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

FUSED_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # the counter does not know it


@dataclass(frozen=True)
class Cost:
    """The cost of one network evaluation of one image."""

    macs: int
    """Multiply-accumulates in convolutions and matrix products."""
    values: int
    """Numbers written by all operations: with many of them, memory is the bottleneck."""
    memory: int
    """Peak bytes of tensors, without the weights."""

    @property
    def work(self) -> int:
        """The cost in multiply-accumulates of convolutions that take as long. Measured on a CPU, writing a number or
        computing an attention score takes as long as 70 of them."""
        return self.macs + 70 * self.values


def cost_of(network: nn.Module, image_shape: Sequence[int]) -> Cost:
    """The cost of evaluating a network on one image of ``image_shape`` (C, H, W), without computing any values."""
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    with torch.no_grad(), FakeTensorMode(), _Counter() as counter:
        shapes = {
            name: torch.empty_strided(value.shape, value.stride(), dtype=value.dtype) for name, value in state.items()
        }  # with the same strides: the memory layout decides which attention kernel runs
        x, t = torch.empty(1, *image_shape), torch.zeros(1, dtype=torch.long)
        weights = counter.live
        torch.func.functional_call(network, shapes, (x, t, None))
    return Cost(counter.macs, counter.values, counter.peak - weights)


class _Counter(TorchDispatchMode):
    """Counts the work of operations, and the bytes of their results that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.values = self.live = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket is FUSED_ATTENTION:
            query, key, value = (tensor.shape for tensor in args[:3])
            self.macs += sdpa_flop_count(query, key, value) // 2
            self.values += math.prod(query[:-1]) * key[-2]  # attention scores, computed but not kept
        elif count := flop_registry.get(func._overloadpacket):
            self.macs += count(*args, **(kwargs or {}), out_val=out) // 2
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._keep(tensor.untyped_storage(), tensor.numel())
        return out

    def _keep(self, storage: torch.UntypedStorage, numbers: int) -> None:
        if storage._cdata in self.seen:  # shared by a view
            return
        self.seen.add(storage._cdata)
        self.values += numbers
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, address: int, size: int) -> None:
        self.seen.discard(address)
        self.live -= size
