"""Quantities as people read them: bytes, durations, and the share of an image that is left."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Format a number of bytes: 15.5 MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def span(seconds: float) -> str:
    """A duration in one unit: 42 s, 4.2 min, 1.5 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def format_alpha_bar(value: float) -> str:
    """Four decimals, or two significant digits where those would say 0 or 1."""
    return f"{value:.4f}" if 5e-4 < value < 0.99995 else f"{value:.2g}" if value < 0.5 else f"1 - {1 - value:.1g}"
