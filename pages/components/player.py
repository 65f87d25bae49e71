"""The player: steps through the reverse process in the browser, without a rerun of the script per frame."""

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from torch import Tensor

from ddpm.media.images import EPS_RANGE, Trajectory, best_columns, make_grid, png_bytes
from ddpm.quantities import format_alpha_bar
from ddpm.samplers import scales_at
from ddpm.schedule import NoiseSchedule

GAP = 2  # pixels between the images of a grid

STATIC = Path(__file__).with_name("static")
_player = st.components.v2.component(
    "ddpm_player", **{kind: (STATIC / f"player.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
)


def player(
    frames: dict[str, Any],
    identity: str,
    key: str,
    probabilities: Tensor | None = None,
    names: Sequence[str] = (),
    on_roll: Callable[[int], None] = lambda k: None,
) -> Any:
    """Show a trajectory: x_t, the predicted x0 and the predicted noise side by side, of all images or of one. In place
    of the noise v, u or the score can be shown, which say the same of x_t (``ddpm.diffusion.OUTPUTS``).

    Args:
        frames: from ``frames_of``.
        identity: names the trajectory; the player stops when it changes.
        probabilities: the classifier's, of the ten digits, for every predicted x0: (F, N, 10).
        names: of the class requested for each image; () if no class was requested.
        on_roll: called with the number of an image to re-roll.
    """

    def roll() -> None:
        k = st.session_state.get(key, {}).get("roll")
        if type(k) is int and 0 <= k < frames["count"]:  # a browser may send anything
            on_roll(k)

    data = frames | {"id": identity, "digits": _digits(probabilities), "names": list(names)}
    return _player(data=data, key=key, on_roll_change=roll)


def frames_of(trajectory: Trajectory, schedule: NoiseSchedule) -> dict[str, Any]:
    """What the player draws: every frame's three grids as PNG, and where the images are in them."""
    count, _, height, width = trajectory.images.shape
    columns = best_columns(count)

    def encode(images: Tensor) -> str:
        return base64.b64encode(png_bytes(make_grid(images, columns, GAP))).decode()

    frames = [
        {
            "x_t": encode(trajectory.x_t[index]),
            "x0": encode(trajectory.x0[index]),
            "eps": encode(trajectory.eps[index]),
            "change": trajectory.change[index].tolist(),
            "caption": _caption(t, schedule),
            "scales": [float(scale) for scale in scales_at(schedule, t)],
        }
        for index, t in enumerate(trajectory.timesteps)
    ]
    return {"frames": frames, "size": [width, height], "columns": min(columns, count), "count": count, "gap": GAP,
            "eps_range": EPS_RANGE}  # fmt: skip


def _digits(probabilities: Tensor | None) -> list[dict[str, Any]] | None:
    """For every image: the digit that the classifier reads in each predicted x0, how sure it is, how probable it finds
    the digit that it reads in the result, the frame from which on it reads no other, and how probable it finds every
    digit in every frame, as bytes (F, 10) from 0 to 255."""
    if probabilities is None:
        return None
    digits = []
    for each in probabilities.unbind(1):
        sure, read = each.max(1)
        others = (read != read[-1]).nonzero().flatten().tolist()
        final = each[:, read[-1]]
        digits.append(
            {
                "read": read.tolist(),
                "sure": sure.tolist(),
                "final": final.tolist(),
                "all": base64.b64encode((each * 255).round().byte().numpy().tobytes()).decode(),
                "settled": others[-1] + 1 if others else 0,
            }
        )
    return digits


def _caption(t: int, schedule: NoiseSchedule) -> str:
    if t < 0:
        return "the result: t is past 0, no noise is left"
    ab = schedule.alpha_bar(t)
    log_snr = f"{math.log(ab / (1 - ab)):.2f}" if ab else "-∞"
    return f"t = {t} · ᾱ = {format_alpha_bar(ab)} · log SNR = {log_snr.replace('-', '−')}"
