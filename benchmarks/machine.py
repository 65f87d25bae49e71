"""What it runs on, and how fast a large matrix product is there."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SIZE, TRIES = 2048, 9
LONGEST = 5.0  # seconds, after which a processor that does not know a precision is not asked again


@dataclass(frozen=True)
class Machine:
    """The processor, and the measured peak by the precision of the factors, in GFLOP/s."""

    name: str
    cores: int
    threads: int
    peaks: dict[torch.dtype, float]

    def __str__(self) -> str:
        peaks = ", ".join(f"{str(dtype).removeprefix('torch.')} {peak:.0f}" for dtype, peak in self.peaks.items())
        return (
            f"{self.name}, {self.cores} cores, {self.threads} threads, torch {torch.__version__}; "
            f"peak of a {SIZE} x {SIZE} matrix product in GFLOP/s: {peaks}"
        )

    def share(self, gmac: float, seconds: float, dtype: torch.dtype | None) -> float | None:
        """Of the peak: billions of multiplications with an addition in so many seconds. None: dtype unknown."""
        return 2 * gmac / seconds / self.peaks[dtype] if dtype in self.peaks else None


def this_machine() -> Machine:
    peaks = {dtype: _peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return Machine(_cpu_name(), os.cpu_count() or 1, torch.get_num_threads(), peaks)


def _peak(dtype: torch.dtype) -> float:
    a, b = torch.randn(2, SIZE, SIZE).to(dtype)
    out, seconds = torch.empty_like(a), []
    while not seconds or (len(seconds) <= TRIES and sum(seconds) < LONGEST):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / statistics.median(seconds[1:] or seconds) / 1e9


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def convolution_dtype(work: Callable[[], object]) -> torch.dtype | None:
    """The precision that ``work`` computes its largest convolution in, whoever chose it; None where it has none."""
    largest, found = 0, None

    def look(module: nn.Module, _, output) -> None:
        nonlocal largest, found
        if isinstance(module, nn.Conv2d) and module.weight.numel() > largest:
            largest, found = module.weight.numel(), output.dtype

    handle = nn.modules.module.register_module_forward_hook(look)
    try:
        work()
    finally:
        handle.remove()
    return found
