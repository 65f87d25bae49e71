// Walks of points through the plane, from arrays that came once: a slider over their moments, drawn as it moves. The app
// and the page without a server use it; from a server the arrays come as base64.

const SIDE = 560; // of a canvas in its own pixels
export const EXTENT = 2.6; // half of the plane's side that is shown
const LONG = 12; // seconds that a whole walk plays
const KEPT = 24; // paths that are drawn
const MIDWAY = 0.6; // of the clock: where the arrows of a walk are worth a look
const POSITIONS = 1000; // of the slider
const FEW = 100; // data that are drawn as rings above everything: what is learned from so few may come back as they are
const COLOURS = ["#E17702", "#009BF4"]; // of the two classes, as in the charts

const bytes = (values) =>
  typeof values === "string" ? Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0)) : values;
const floats = (values) => (typeof values === "string" ? new Float32Array(bytes(values).buffer) : values);
const toPixels = (value) => (SIDE * (value + EXTENT)) / (2 * EXTENT);

/** What a field's arrow says, from the predicted x0 at a place; a and s are the scales of image and noise there. */
const FIELDS = {
  eps: (a, s, x, x0) => (x - a * x0) / s,
  v: (a, s, x, x0) => (a * (x - a * x0)) / s - s * x0,
  u: (a, s, x, x0) => (x - a * x0) / s - x0,
  score: (a, s, x, x0) => -(x - a * x0) / (s * s),
};

function readView(view) {
  const count = view.labels.length;
  const particles = floats(view.particles);
  const frames = view.times.length;
  const field = floats(view.field);
  const cells = field.length / (2 * (frames - 1));
  const clock = view.alphaBars.map(clockOf);
  [clock[0], clock[frames - 1]] = [0, 1];
  return { ...view, count, particles, field, cells, grid: Math.sqrt(cells), density: bytes(view.density), clock };
}

/**
 * The clock of all walks: from 0, nothing but noise, to 1, none, evenly in the angle whose sine and cosine are the scales of
 * noise and image. Walks of several schedules and numbers of steps then show the same noise level at a time, and most of it
 * is spent where something happens, not where t is large.
 */
const clockOf = (alphaBar) => 1 - (2 / Math.PI) * Math.atan2(Math.sqrt(1 - alphaBar), Math.sqrt(alphaBar));

/** What the clock says. */
function noiseAt(time) {
  if (time <= 0) return "noise alone";
  const angle = ((1 - time) * Math.PI) / 2;
  return `log SNR = ${(-2 * Math.log(Math.tan(angle))).toFixed(2)}`;
}

/** The moment of a walk, between 0 and the last of its frames, at a time of the clock. */
function momentAt(view, time) {
  const next = Math.max(1, view.clock.findIndex((each) => each >= time));
  const [before, after] = [view.clock[next - 1], view.clock[next]];
  return next - 1 + (time - before) / (after - before);
}

function draw(canvas, view, data, moment, shown, ink) {
  const context = canvas.getContext("2d");
  const frame = Math.floor(moment);
  const part = moment - frame;
  const next = Math.min(frame + 1, view.times.length - 1);
  context.clearRect(0, 0, SIDE, SIDE);
  if (shown.density) drawDensity(context, view, frame);
  const few = data.length <= 2 * FEW;
  if (shown.data && !few) {
    context.fillStyle = "#8A8A8A";
    for (let i = 0; i < data.length; i += 2) {
      context.fillRect(toPixels(data[i]) - 1.5, SIDE - toPixels(data[i + 1]) - 1.5, 3, 3);
    }
  }
  if (shown.field && frame < view.times.length - 1) drawField(context, view, frame, ink);
  const at = (index, point, axis) => view.particles[2 * (index * view.count + point) + axis];
  const place = (point, axis) => (1 - part) * at(frame, point, axis) + part * at(next, point, axis);
  if (shown.paths) {
    context.lineWidth = 1;
    for (let point = 0; point < Math.min(KEPT, view.count); point++) {
      context.strokeStyle = COLOURS[view.labels[point]];
      context.globalAlpha = 0.6;
      context.beginPath();
      for (let index = 0; index <= frame; index++) {
        context.lineTo(toPixels(at(index, point, 0)), SIDE - toPixels(at(index, point, 1)));
      }
      context.lineTo(toPixels(place(point, 0)), SIDE - toPixels(place(point, 1)));
      context.stroke();
    }
    context.globalAlpha = 1;
  }
  for (let point = 0; point < view.count; point++) {
    context.fillStyle = COLOURS[view.labels[point]];
    context.fillRect(toPixels(place(point, 0)) - 1.5, SIDE - toPixels(place(point, 1)) - 1.5, 3, 3);
  }
  if (shown.data && few) drawRings(context, data, ink);
}

function drawRings(context, data, ink) {
  context.strokeStyle = ink;
  context.lineWidth = 2;
  for (let i = 0; i < data.length; i += 2) {
    context.beginPath();
    context.arc(toPixels(data[i]), SIDE - toPixels(data[i + 1]), 6, 0, 2 * Math.PI);
    context.stroke();
  }
}

function drawDensity(context, view, frame) {
  const side = Math.sqrt(view.density.length / view.times.length);
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    image.data.set([128, 128, 128, view.density[frame * side * side + i]], 4 * i);
  }
  const small = new OffscreenCanvas(side, side);
  small.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(small, 0, 0, SIDE, SIDE);
}

function drawField(context, view, frame, ink) {
  const [a, s] = [Math.sqrt(view.alphaBars[frame]), Math.sqrt(1 - view.alphaBars[frame])];
  const step = (2 * EXTENT) / view.grid;
  const arrows = [];
  let longest = 1e-9;
  for (let cell = 0; cell < view.cells; cell++) {
    const x = [-EXTENT + step * ((cell % view.grid) + 0.5), -EXTENT + step * (Math.floor(cell / view.grid) + 0.5)];
    const arrow = [0, 1].map((axis) => FIELDS[view.shows](a, s, x[axis], view.field[2 * (frame * view.cells + cell) + axis]));
    arrows.push([x, arrow]);
    longest = Math.max(longest, Math.hypot(...arrow));
  }
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 1.2;
  for (const [x, arrow] of arrows) {
    // Scaled anew at every moment, and by the root: lengths differ by orders of magnitude over a walk and over the plane.
    const scale = (0.8 * step) / Math.sqrt(longest * Math.max(1e-9, Math.hypot(...arrow)));
    const [from, to] = [-0.5, 0.5].map((part) => [
      toPixels(x[0] + part * scale * arrow[0]), SIDE - toPixels(x[1] + part * scale * arrow[1]),
    ]);
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const [long, turn] = [Math.min(7, 0.5 * Math.hypot(dx, dy)), Math.atan2(dy, dx)];
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    for (const side of [-0.5, 0.5]) {
      context.moveTo(...to);
      context.lineTo(to[0] - long * Math.cos(turn + side), to[1] - long * Math.sin(turn + side));
    }
    context.stroke();
  }
}

/**
 * @param data {views, points, id, at, field, arrows}: when `id` changes, the slider goes to the time `at` of the clock, the
 *   end if none, and arrows are drawn if `field`; `arrows` is the kind at that time: who has chosen another since, before
 *   this was drawn, wants to see it
 */
export default function ({ data, parentElement, setStateValue }) {
  const find = (selector) => parentElement.querySelector(selector);
  const [root, slider, play, caption, views] = [".plane", ".slider", ".play", ".caption", ".views"].map(find);
  const boxes = [...parentElement.querySelectorAll(".shown input")];
  const arrows = boxes.find((box) => box.name === "field");
  const ink = getComputedStyle(root).color;
  const read = data.views.map(readView);
  const points = floats(data.points);
  slider.max = POSITIONS;

  const figures = read.map((view) => {
    const [figure, canvas, below, moment] = ["figure", "canvas", "figcaption", "span"].map((tag) => document.createElement(tag));
    [canvas.width, canvas.height] = [SIDE, SIDE];
    canvas.setAttribute("role", "img");
    moment.className = "moment";
    below.append(view.title, moment);
    figure.append(canvas, below);
    return { figure, canvas, moment };
  });
  views.replaceChildren(...figures.map(({ figure }) => figure));

  const time = () => Number(slider.value) / POSITIONS;
  const places = () => read.map((view) => momentAt(view, time()));
  function show() {
    const shown = Object.fromEntries(boxes.map((box) => [box.name, box.checked]));
    places().forEach((moment, k) => {
      const [view, { canvas, moment: line }] = [read[k], figures[k]];
      draw(canvas, view, points, moment, shown, ink);
      const frame = Math.floor(moment);
      const [t, ab] = [view.times[frame], view.alphaBars[frame]];
      line.textContent = t < 0 ? "" : `step ${frame + 1} of ${view.times.length - 1}, from t = ${t}, ᾱ = ${ab.toPrecision(3)}`;
      canvas.setAttribute("aria-label", `${view.title}, ${line.textContent || "the result"}`);
    });
    caption.textContent = time() < 1 ? noiseAt(time())
      : `the result: no noise is left${shown.field ? ", so no arrows: move the slider back" : ""}`;
    slider.setAttribute("aria-valuetext", caption.textContent);
  }

  /** For the link. */
  const tell = () => setStateValue?.("look", `${time().toFixed(3)},${arrows.checked ? 1 : 0}`);
  const stop = () => { cancelAnimationFrame(root.timer); root.timer = null; play.textContent = "Play"; };
  const start = () => {
    play.textContent = "Pause";
    if (time() >= 1) slider.value = 0;
    const [begun, from] = [performance.now(), Number(slider.value)];
    const step = (now) => {
      slider.value = from + (POSITIONS * (now - begun)) / (1000 * LONG);
      show();
      if (time() < 1) root.timer = requestAnimationFrame(step);
      else stop();
    };
    root.timer = requestAnimationFrame(step);
  };
  const plays = Boolean(root.timer); // what is new goes on playing
  cancelAnimationFrame(root.timer);
  play.onclick = () => { if (root.timer) { stop(); tell(); } else start(); };
  slider.oninput = () => { stop(); show(); };
  slider.onchange = tell;
  for (const box of boxes) box.onchange = () => { show(); tell(); };
  const shows = read[0].shows;
  if (root.dataset.shown !== data.id) {
    stop();
    slider.value = (data.at ?? 1) * POSITIONS;
    if (data.field !== undefined) arrows.checked = data.field;
    Object.assign(root.dataset, { shown: data.id, arrows: data.arrows ?? shows });
  } else if (plays) start();
  if (root.dataset.arrows !== shows) { // whoever chooses another arrow wants to see it
    arrows.checked = true;
    if (time() >= 1) slider.value = MIDWAY * POSITIONS;
    root.dataset.arrows = shows;
    tell();
  }
  show();
  return () => cancelAnimationFrame(root.timer);
}
