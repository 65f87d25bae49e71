"""What an experiment of a lesson draws: figures in rows."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from ..media.chart import Chart
from ..media.images import enlarge, png_bytes

CHART_COLOURS = 48  # of a chart in a file, which is a third as large with them


@dataclass(frozen=True)
class Figure:
    """A picture in small pixels, or a chart, with what stands below it."""

    label: str
    image: Image.Image | None = None
    chart: Chart | None = None
    facts: str = ""

    def png(self, at_least: int = 0) -> bytes:
        """The picture in its own pixels, or enlarged to ``at_least`` as many; the chart as a file has it."""
        if self.image is not None:
            return png_bytes(enlarge(self.image, at_least) if at_least else self.image)
        from ..media.drawers import to_matplotlib

        buffer = io.BytesIO()
        to_matplotlib(self.chart).savefig(buffer, dpi=110)
        return png_bytes(Image.open(buffer).convert("RGB").quantize(CHART_COLOURS))

    @cached_property
    def data_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png()).decode()}"


@dataclass(frozen=True)
class Row:
    """Figures side by side, or one below the other where each has many images."""

    figures: tuple[Figure, ...]
    label: str = ""
    across: int = 0
    """Where figures stand one below the other: how many images each has side by side."""
