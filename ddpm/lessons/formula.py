"""A formula as a picture, for where there is no LaTeX."""

from __future__ import annotations

import io


def formula_png(latex: str) -> bytes:
    """A formula in matplotlib's mathtext, which has a part of LaTeX, as a PNG on white.

    Raises:
        ValueError: mathtext does not know one of its commands.
    """
    from matplotlib.mathtext import math_to_image

    buffer = io.BytesIO()
    math_to_image(f"${latex}$", buffer, dpi=160, format="png")
    return buffer.getvalue()
