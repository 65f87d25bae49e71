"""The player: steps through the reverse process in the browser, without a rerun of the script per frame."""

import base64

import streamlit as st

from ddpm.media.figures import format_alpha_bar
from ddpm.media.images import Trajectory, make_grid, png_bytes
from ddpm.schedule import NoiseSchedule

HTML = """
<div class="player" role="group" aria-label="Reverse process">
  <div class="pictures">
    <figure><img class="xt" alt=""><figcaption>x<sub>t</sub>, the state</figcaption></figure>
    <figure><img class="x0" alt=""><figcaption>predicted x<sub>0</sub>, the guess</figcaption></figure>
  </div>
  <div class="bar">
    <button class="play" type="button">Play</button>
    <input class="slider" type="range" min="0" step="1" aria-label="Frame">
    <label>Speed <select class="speed" aria-label="Frames per second">
      <option value="5">5 / s</option><option value="12" selected>12 / s</option><option value="30">30 / s</option>
    </select></label>
    <label><input class="loop" type="checkbox" checked> Loop</label>
  </div>
  <p class="caption" aria-live="off"></p>
</div>
"""

CSS = """
.player { color: var(--st-text-color); font-family: var(--st-font); font-size: 0.9rem; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; max-width: 46rem; }
figure { margin: 0; }
img { width: 100%; image-rendering: pixelated; border: 1px solid var(--st-border-color); display: block; }
figcaption { margin-top: 0.25rem; opacity: 0.8; }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: 0.75rem; margin-top: 0.75rem; max-width: 46rem; }
.slider { flex: 1 1 10rem; min-width: 8rem; height: 4px; margin: 0.75rem 0; appearance: none; border-radius: 2px;
  background: var(--st-border-color); cursor: pointer; }
.slider::-webkit-slider-thumb { appearance: none; width: 1rem; height: 1rem; border-radius: 50%;
  background: var(--st-primary-color); }
.slider::-moz-range-thumb { width: 1rem; height: 1rem; border: 0; border-radius: 50%;
  background: var(--st-primary-color); }
button, select { font: inherit; color: inherit; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); padding: 0.3rem 0.8rem; }
button { min-width: 4.5rem; cursor: pointer; }
button:focus-visible, select:focus-visible, input:focus-visible { outline: 2px solid var(--st-primary-color); }
input[type=checkbox] { accent-color: var(--st-primary-color); }
.caption { margin: 0.5rem 0 0; font-variant-numeric: tabular-nums; opacity: 0.85; min-height: 1.4em; }
"""

JS = """
export default function ({ data, parentElement }) {
  const find = (name) => parentElement.querySelector("." + name);
  const [xt, x0, slider, play, speed, loop, caption] =
    ["xt", "x0", "slider", "play", "speed", "loop", "caption"].map(find);
  // This function runs anew with every rerun of the page; what must outlive one call hangs on the element.
  const root = find("player");
  const last = data.frames.length - 1;

  // Decoded once and kept, so that no frame flickers.
  const decode = (uri) => { const image = new Image(); image.src = "data:image/png;base64," + uri; return image; };
  const images = data.frames.map((frame) => ({ xt: decode(frame.x_t), x0: decode(frame.x0) }));

  const show = (index) => {
    slider.value = index;
    xt.src = images[index].xt.src;
    x0.src = images[index].x0.src;
    xt.alt = "x_t, " + data.frames[index].caption;
    x0.alt = "predicted x0, " + data.frames[index].caption;
    caption.textContent = data.frames[index].caption;
    slider.setAttribute("aria-valuetext", data.frames[index].caption);
  };
  const stop = () => { clearTimeout(root.timer); root.timer = null; play.textContent = "Play"; };
  const tick = () => {
    const index = Number(slider.value);
    if (index < last) show(index + 1);
    else if (loop.checked) show(0);
    else return stop();
    // The result stays for a moment before it all begins again.
    root.timer = setTimeout(tick, Number(slider.value) === last ? 1500 : 1000 / Number(speed.value));
  };

  slider.max = last;
  slider.oninput = () => { stop(); show(Number(slider.value)); };
  play.onclick = () => {
    if (root.timer) return stop();
    play.textContent = "Pause";
    if (Number(slider.value) === last) show(0);
    root.timer = setTimeout(tick, 1000 / Number(speed.value));
  };
  if (root.dataset.shown !== data.id) {
    root.dataset.shown = data.id;
    stop();
    // Not at the result, where both pictures are the same: here the guess is ahead of the state.
    show(Math.round(0.6 * last));
  } else if (root.timer) {
    clearTimeout(root.timer);
    root.timer = setTimeout(tick, 1000 / Number(speed.value));
  }
  return () => clearTimeout(root.timer);
}
"""

_player = st.components.v2.component("ddpm_player", html=HTML, css=CSS, js=JS)


def player(trajectory: Trajectory, schedule: NoiseSchedule, identity: str, key: str) -> None:
    """Show a trajectory: x_t and the predicted x0 side by side, a slider, play, speed, loop.

    ``identity`` names the trajectory: whenever it changes, the player starts anew, a little past the middle.
    """
    _player(data={"id": identity, "frames": _frames(trajectory, schedule)}, key=key)


@st.cache_data(show_spinner=False, max_entries=16, hash_funcs={Trajectory: id, NoiseSchedule: id})
def _frames(trajectory: Trajectory, schedule: NoiseSchedule) -> list[dict[str, str]]:
    def encode(images) -> str:
        return base64.b64encode(png_bytes(make_grid(images))).decode()

    return [
        {"x_t": encode(x_t), "x0": encode(x0), "caption": _caption(t, schedule)}
        for t, x_t, x0 in zip(trajectory.timesteps, trajectory.x_t, trajectory.x0, strict=True)
    ]


def _caption(t: int, schedule: NoiseSchedule) -> str:
    if t < 0:
        return "the result: t is past 0, no noise is left"
    ab = schedule.alpha_bar(t)
    return f"t = {t} · ᾱ = {format_alpha_bar(ab)} · SNR = {ab / (1 - ab):.3g}"
