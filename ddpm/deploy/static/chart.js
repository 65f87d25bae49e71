// The noise schedule as an SVG: how much of image and noise is in x_t at every timestep, and the timesteps visited.

import { scales } from "./sampling.js";

const HEIGHT = 190;
const MARGIN = { left: 34, right: 12, top: 22, bottom: 40 };

export function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Draw into `svg`, `width` pixels wide: `timesteps` are marked, `now` is the one that the frame shows. */
export function drawSchedule(svg, width, model, timesteps, now) {
  const last = model.alphasCumprod.length - 1;
  const inner = width - MARGIN.left - MARGIN.right;
  const depth = HEIGHT - MARGIN.top - MARGIN.bottom;
  const x = (t) => MARGIN.left + (inner * Math.max(t, 0)) / last;
  const y = (share) => MARGIN.top + depth * (1 - share);
  const line = (which) =>
    Array.from({ length: 101 }, (_, i) => Math.round((i * last) / 100))
      .map((t, i) => `${i ? "L" : "M"}${x(t).toFixed(1)} ${y(scales(model, t)[which]).toFixed(1)}`)
      .join("");

  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    parts.push(element("path", { class: "rule", d: `M${MARGIN.left} ${y(share)}H${width - MARGIN.right}` }));
    parts.push(element("text", { x: MARGIN.left - 7, y: y(share) + 4, "text-anchor": "end" }, String(share)));
  }
  for (const share of [0, 0.5, 1]) {
    const t = Math.round(share * last);
    const anchor = share === 1 ? "end" : share ? "middle" : "start";
    parts.push(element("text", { x: x(t), y: HEIGHT - 20, "text-anchor": anchor }, `t = ${t}`));
  }
  const middle = { x: MARGIN.left + inner / 2, y: HEIGHT - 3, "text-anchor": "middle" };
  parts.push(element("text", middle, "← the sampler walks from noise to image"));
  parts.push(element("path", { class: "signal", d: line(0) }), element("path", { class: "noise", d: line(1) }));
  parts.push(element("text", { class: "signal", x: MARGIN.left + 4, y: 14 }, `${width < 330 ? "" : "share of "}the image, √ᾱ`));
  const right = { class: "noise", x: width - MARGIN.right, y: 14, "text-anchor": "end" };
  parts.push(element("text", right, `${width < 330 ? "" : "of "}the noise, √(1−ᾱ)`));
  parts.push(element("path", { class: "now", d: `M${x(now)} ${MARGIN.top}V${MARGIN.top + depth}` }));
  for (const t of timesteps) {
    const visited = t >= now;
    parts.push(element("circle", { class: visited ? "visited" : "ahead", cx: x(t), cy: y(scales(model, t)[0]), r: 3.5 }));
  }
  svg.replaceChildren(...parts);
}
