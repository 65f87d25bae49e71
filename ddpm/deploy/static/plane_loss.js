// The loss of a training as an SVG, as it falls, above a line: the loss of the exact answer, which no rule for new points
// comes below.

import { element } from "./chart.js";

const HEIGHT = 150;
const MARGIN = { left: 40, right: 12, top: 12, bottom: 26 };
const BINS = 120; // means along the curve: single losses jump

function binned(losses, of) {
  const size = Math.max(1, Math.ceil(of / BINS));
  const means = [];
  for (let from = 0; from < losses.length; from += size) {
    const part = losses.slice(from, from + size);
    means.push({ step: from + part.length, loss: part.reduce((a, b) => a + b) / part.length });
  }
  return means;
}

/** Draw into `svg`, `width` pixels wide, the losses of the first of `of` steps, beside the loss `floor`. */
export function drawLoss(svg, width, losses, of, floor) {
  const means = binned(losses, of);
  const [low, high] = [0.8 * Math.min(floor, ...means.map(({ loss }) => loss)), 1.05 * Math.max(1.5 * floor, ...means.map(({ loss }) => loss))];
  const x = (step) => MARGIN.left + ((width - MARGIN.left - MARGIN.right) * step) / of;
  const y = (loss) => MARGIN.top + ((HEIGHT - MARGIN.top - MARGIN.bottom) * (high - loss)) / (high - low);
  const line = means.map(({ step, loss }, k) => `${k ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const last = means.at(-1);
  svg.setAttribute("aria-label", last
    ? `The loss is ${last.loss.toFixed(3)} after ${losses.length} of ${of} steps, that of the exact answer ${floor.toFixed(3)}`
    : "The loss of the training");
  const bottom = HEIGHT - MARGIN.bottom;
  svg.replaceChildren(
    element("path", { class: "rule", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${width - MARGIN.right}` }),
    element("path", { class: "now", d: `M${MARGIN.left} ${y(floor)}H${width - MARGIN.right}` }),
    element("text", { x: MARGIN.left + 6, y: y(floor) + 15 }, "the exact answer"),
    element("text", { x: MARGIN.left - 6, y: y(floor) + 4, "text-anchor": "end" }, floor.toFixed(2)),
    element("text", { x: MARGIN.left, y: HEIGHT - 8 }, "step 0"),
    element("text", { x: width - MARGIN.right, y: HEIGHT - 8, "text-anchor": "end" }, of.toLocaleString("en")),
    element("text", { x: MARGIN.left - 6, y: MARGIN.top + 6, "text-anchor": "end" }, "loss"),
    element("path", { class: "signal", d: line }),
  );
}
