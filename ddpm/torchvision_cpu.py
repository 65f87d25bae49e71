"""Import torchvision even with a CPU build of torch.

torchvision's wheel on PyPI is built against CUDA torch; with a CPU build its import fails with "operator
torchvision::nms does not exist", because a decorator looks up two operators that the compiled library could not
register. Declaring them first, only where they are missing, is enough: nothing here calls them. Import torchvision, and
what imports it (lpips), through this module.
"""

from __future__ import annotations

import torch

_OPERATORS = ("nms", "qnms")
_library = torch.library.Library("torchvision", "FRAGMENT")


def _declare_missing_operators() -> None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        for name in _OPERATORS:
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_missing_operators()

from torchvision import datasets, utils  # noqa: E402

__all__ = ["datasets", "utils"]
