"""The tools of the Draw page, by their names."""

from collections.abc import Callable

from ddpm.models import Model

from .blend import blend_tool
from .branch import branch_tool
from .invert import invert_tool
from .repair import repair_tool
from .sketch import sketch_tool

TOOLS: dict[str, Callable[[Model], None]] = {
    "Sketch": sketch_tool,
    "Repair": repair_tool,
    "Blend": blend_tool,
    "Branch": branch_tool,
    "Invert": invert_tool,
}
