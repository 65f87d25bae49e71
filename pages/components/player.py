"""The player: steps through the reverse process in the browser, without a rerun of the script per frame."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from torch import Tensor

from ddpm.media.figures import format_alpha_bar
from ddpm.media.images import Trajectory, best_columns, make_grid, png_bytes
from ddpm.schedule import NoiseSchedule

GAP = 2  # pixels between the images of a grid

HTML = """
<div class="player" role="group" aria-label="Reverse process" tabindex="0">
  <div class="pictures">
    <figure><canvas class="x_t" role="img"></canvas><figcaption>x<sub>t</sub>, the state</figcaption></figure>
    <figure><canvas class="x0" role="img"></canvas><figcaption>predicted x<sub>0</sub>, the guess</figcaption></figure>
    <figure><canvas class="eps" role="img"></canvas><figcaption>predicted noise</figcaption></figure>
  </div>
  <div class="chart">
    <p>probability of the final digit, as the classifier reads the guess <span>100 %</span></p>
    <svg class="belief" preserveAspectRatio="none" role="img"><polyline class="line"/><line class="now"/></svg>
    <span>0 %</span>
  </div>
  <input class="slider" type="range" min="0" step="1" aria-label="Frame">
  <div class="bar">
    <button class="back" type="button" aria-label="Previous frame">‹</button>
    <button class="play" type="button">Play</button>
    <button class="forth" type="button" aria-label="Next frame">›</button>
    <label>Speed <select class="speed" aria-label="Frames per second">
      <option value="5">5 / s</option><option value="12" selected>12 / s</option><option value="30">30 / s</option>
    </select></label>
    <label><input class="loop" type="checkbox" checked> Loop</label>
    <label class="choice">Show <select class="which" aria-label="Which image"></select></label>
    <button class="roll" type="button" title="New noise for this image; the others stay">Roll this image</button>
  </div>
  <p class="caption" aria-live="off"></p>
  <p class="verdict" aria-live="off"></p>
</div>
"""

CSS = """
.player { color: var(--st-text-color); font-family: var(--st-font); font-size: 0.9rem; max-width: 60rem;
  outline-offset: 4px; }
.pictures { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; }
figure { margin: 0; }
canvas { width: 100%; image-rendering: pixelated; border: 1px solid var(--st-border-color); display: block;
  cursor: pointer; box-sizing: border-box; }
figcaption { margin-top: 0.25rem; opacity: 0.8; }
.chart { position: relative; margin-top: 0.75rem; font-size: 0.8rem; }
.chart p { display: flex; justify-content: space-between; gap: 1rem; margin: 0 0 0.25rem; }
.chart p, .chart > span { opacity: 0.7; }
.chart span { white-space: nowrap; }
.chart > span { position: absolute; right: 0; bottom: 0.2rem; }
.belief { display: block; width: 100%; height: 3rem; box-sizing: border-box; overflow: visible;
  border: solid var(--st-border-color); border-width: 1px 0; }
[hidden] { display: none; }
.line { fill: none; stroke: var(--st-primary-color); stroke-width: 2; vector-effect: non-scaling-stroke; }
.now { stroke: var(--st-text-color); opacity: 0.5; stroke-width: 1; vector-effect: non-scaling-stroke; }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: 0.75rem; }
.slider { display: block; width: 100%; height: 4px; margin: 0.9rem 0; appearance: none; border-radius: 2px;
  background: var(--st-border-color); cursor: pointer; }
.slider::-webkit-slider-thumb { appearance: none; width: 1rem; height: 1rem; border-radius: 50%;
  background: var(--st-primary-color); }
.slider::-moz-range-thumb { width: 1rem; height: 1rem; border: 0; border-radius: 50%;
  background: var(--st-primary-color); }
.which { max-width: 14rem; }
button, select { font: inherit; color: inherit; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); padding: 0.3rem 0.8rem; }
button { cursor: pointer; }
.play { min-width: 4.5rem; }
:focus-visible { outline: 2px solid var(--st-primary-color); }
input[type=checkbox] { accent-color: var(--st-primary-color); }
.caption, .verdict { margin: 0.5rem 0 0; font-variant-numeric: tabular-nums; opacity: 0.85; min-height: 1.4em; }
@media (max-width: 30rem) { .pictures { gap: 0.4rem; } figcaption { font-size: 0.75rem; } }
"""

JS = """
const KINDS = ["x_t", "x0", "eps"];
const NAMES = { x_t: "x_t", x0: "predicted x0", eps: "predicted noise" };

export default function ({ data, parentElement, setTriggerValue }) {
  const find = (name) => parentElement.querySelector("." + name);
  const [slider, play, back, forth, speed, loop, which, roll] =
    ["slider", "play", "back", "forth", "speed", "loop", "which", "roll"].map(find);
  const [caption, verdict, chart, belief, line, now] =
    ["caption", "verdict", "chart", "belief", "line", "now"].map(find);
  // This function runs anew with every rerun of the page; what must outlive one call hangs on the element.
  const root = find("player");
  const last = data.frames.length - 1;
  const { size: [width, height], columns, count, gap } = data;

  // Decoded once and kept, so that no frame flickers.
  const decode = (uri) => { const image = new Image(); image.src = "data:image/png;base64," + uri; return image; };
  const images = data.frames.map((frame) => Object.fromEntries(KINDS.map((kind) => [kind, decode(frame[kind])])));

  const chosen = () => (which.value === "" ? null : Number(which.value));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const percent = (value) => Math.round(100 * value) + " %";

  const draw = (canvas, image) => {
    const k = chosen();
    const box = k === null
      ? [0, 0, image.naturalWidth, image.naturalHeight]
      : [gap + (k % columns) * (width + gap), gap + Math.floor(k / columns) * (height + gap), width, height];
    if (canvas.width !== box[2] || canvas.height !== box[3]) [canvas.width, canvas.height] = box.slice(2);
    canvas.getContext("2d").drawImage(image, ...box, 0, 0, box[2], box[3]);
  };

  const say = (index) => {
    const k = chosen(), frame = data.frames[index];
    const change = k === null ? mean(frame.change) : frame.change[k];
    caption.textContent = frame.caption + (index < last ? " · step changes x by " + change.toPrecision(2) : "");
    if (!data.digits) return;
    if (k === null) {
      const settled = data.digits.filter((digit) => digit.settled <= index).length;
      verdict.textContent = "The digit is decided in " + settled + " of " + count + " images: from this "
        + "step on, the classifier's reading no longer changes.";
    } else {
      const digit = data.digits[k], at = data.frames[digit.settled].caption.split(" ·")[0];
      verdict.textContent = "The classifier reads the guess as " + digit.read[index] + " (" + percent(digit.sure[index])
        + "). It is decided " + (digit.settled === 0 ? "from the start" : "at " + at) + ": a " + digit.read[last] + ".";
    }
  };

  const curve = () => {
    const k = chosen();
    for (const part of [chart, verdict]) part.toggleAttribute("hidden", !data.digits);
    if (!data.digits) return;
    const at = (index) =>
      k === null ? mean(data.digits.map((digit) => digit.final[index])) : data.digits[k].final[index];
    belief.setAttribute("viewBox", "0 0 " + last + " 1");
    belief.setAttribute("aria-label", "Probability that the classifier gives to the final digit, over the frames");
    line.setAttribute("points", data.frames.map((_, index) => index + "," + (1 - at(index))).join(" "));
  };

  const show = (index) => {
    slider.value = index;
    for (const kind of KINDS) {
      const canvas = find(kind), image = images[index][kind];
      if (image.complete) draw(canvas, image);
      else image.onload = () => { if (Number(slider.value) === index) draw(canvas, image); };
      canvas.setAttribute("aria-label", NAMES[kind] + ", " + data.frames[index].caption);
    }
    for (const [name, value] of Object.entries({ x1: index, x2: index, y1: 0, y2: 1 })) now.setAttribute(name, value);
    slider.setAttribute("aria-valuetext", data.frames[index].caption);
    say(index);
  };
  const choose = (k) => {
    which.value = k === null ? "" : String(k);
    roll.toggleAttribute("hidden", k === null);
    curve();
    show(Number(slider.value));
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
  const step = (by) => { stop(); show(Math.min(last, Math.max(0, Number(slider.value) + by))); };

  slider.max = last;
  slider.oninput = () => { stop(); show(Number(slider.value)); };
  back.onclick = () => step(-1);
  forth.onclick = () => step(1);
  play.onclick = () => {
    if (root.timer) return stop();
    play.textContent = "Pause";
    if (Number(slider.value) === last) show(0);
    root.timer = setTimeout(tick, 1000 / Number(speed.value));
  };
  root.onkeydown = (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(event.key === "ArrowLeft" ? -1 : 1);
    else if (event.key === "Home" || event.key === "End") step(event.key === "Home" ? -last : last);
    else return;
    event.preventDefault();
  };
  which.onchange = () => choose(chosen());
  roll.onclick = () => setTriggerValue("roll", chosen());
  for (const kind of KINDS) {
    const canvas = find(kind);
    canvas.onclick = (event) => {
      if (chosen() !== null) return choose(null);
      const scale = canvas.width / canvas.clientWidth;
      const column = Math.floor((event.offsetX * scale) / (width + gap));
      const row = Math.floor((event.offsetY * scale) / (height + gap));
      const k = row * columns + column;
      if (column < columns && k < count) choose(k);
    };
  }

  const before = which.value;
  which.replaceChildren(new Option("all images", ""), ...Array.from({ length: count }, (_, k) => new Option(
    data.names.length ? k + 1 + ": " + data.names[k] : k + 1, k)));
  which.value = Number(before) < count ? before : "";
  if (root.dataset.shown !== data.id) {
    // Not at the result, where both pictures are the same: here the guess is ahead of the state.
    if (!root.dataset.shown || Number(slider.value) > last) slider.value = Math.round(0.6 * last);
    root.dataset.shown = data.id;
    stop();
  } else if (root.timer) {
    clearTimeout(root.timer);
    root.timer = setTimeout(tick, 1000 / Number(speed.value));
  }
  choose(chosen());
  return () => clearTimeout(root.timer);
}
"""

_player = st.components.v2.component("ddpm_player", html=HTML, css=CSS, js=JS)


def player(
    frames: dict[str, Any],
    identity: str,
    key: str,
    probabilities: Tensor | None = None,
    names: Sequence[str] = (),
    on_roll: Callable[[int], None] = lambda k: None,
) -> Any:
    """Show a trajectory: x_t, the predicted x0 and the predicted noise side by side, of all images or of one.

    Args:
        frames: from ``frames_of``.
        identity: names the trajectory; the player stops where it changes.
        probabilities: the classifier's, of the ten digits, for every predicted x0: (F, N, 10).
        names: of the class that each image was asked to be; () where no class was asked for.
        on_roll: called with the number of an image that is to be rolled anew.
    """

    def roll() -> None:
        k = st.session_state.get(key, {}).get("roll")
        if type(k) is int and 0 <= k < frames["count"]:  # a browser may say anything
            on_roll(k)

    data = frames | {"id": identity, "digits": _digits(probabilities), "names": list(names)}
    return _player(data=data, key=key, on_roll_change=roll)


def frames_of(trajectory: Trajectory, schedule: NoiseSchedule) -> dict[str, Any]:
    """What the player draws: every frame's three grids as PNG, and where the images stand in them."""
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
        }
        for index, t in enumerate(trajectory.timesteps)
    ]
    return {"frames": frames, "size": [width, height], "columns": min(columns, count), "count": count, "gap": GAP}


def _digits(probabilities: Tensor | None) -> list[dict[str, Any]] | None:
    """For every image what the classifier reads in each guess, how sure it is, how probable it finds the digit that it
    reads in the result, and the frame from which on it reads nothing else."""
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
                "settled": others[-1] + 1 if others else 0,
            }
        )
    return digits


def _caption(t: int, schedule: NoiseSchedule) -> str:
    if t < 0:
        return "the result: t is past 0, no noise is left"
    ab = schedule.alpha_bar(t)
    return f"t = {t} · ᾱ = {format_alpha_bar(ab)} · SNR = {ab / (1 - ab):.3g}"
