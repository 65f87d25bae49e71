// Walks of points through the plane, from arrays that came once: a slider over their moments, drawn as it moves. The app
// and the page without a server use it; from a server the arrays come as base64.

const SIDE = 560; // of a canvas in its own pixels
export const EXTENT = 2.6; // half of the plane's side that is shown
const LONG = 12; // seconds that a whole walk plays
const KEPT = 40; // paths that are drawn
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
  return { ...view, count, particles, field, cells, grid: Math.sqrt(cells), density: bytes(view.density) };
}

function draw(canvas, view, data, moment, shown, ink) {
  const context = canvas.getContext("2d");
  const frame = Math.floor(moment);
  const part = moment - frame;
  const next = Math.min(frame + 1, view.times.length - 1);
  context.clearRect(0, 0, SIDE, SIDE);
  if (shown.density) drawDensity(context, view, frame);
  if (shown.data) {
    context.fillStyle = ink;
    for (let i = 0; i < data.length; i += 2) {
      context.fillRect(toPixels(data[i]) - 1, SIDE - toPixels(data[i + 1]) - 1, 2, 2);
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
    const scale = (0.9 * step) / longest;
    const [from, to] = [x, [x[0] + scale * arrow[0], x[1] + scale * arrow[1]]].map(([x, y]) => [toPixels(x), SIDE - toPixels(y)]);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    context.fillRect(to[0] - 1.5, to[1] - 1.5, 3, 3); // the tip
  }
}

/** @param data {views, points, id, at}: the slider goes to the share `at` of the walk, the end if none, when `id` changes */
export default function ({ data, parentElement }) {
  const find = (selector) => parentElement.querySelector(selector);
  const [root, slider, play, caption, views] = [".plane", ".slider", ".play", ".caption", ".views"].map(find);
  const ink = getComputedStyle(root).color;
  const read = data.views.map(readView);
  const points = floats(data.points);
  const last = Math.max(...read.map((view) => view.times.length)) - 1;
  const finest = 10; // positions of the slider between two moments
  slider.max = last * finest;

  views.replaceChildren();
  const canvases = read.map((view) => {
    const [figure, canvas] = [document.createElement("figure"), document.createElement("canvas")];
    [canvas.width, canvas.height] = [SIDE, SIDE];
    canvas.setAttribute("role", "img");
    const below = document.createElement("figcaption");
    below.textContent = view.title;
    figure.append(canvas, below);
    views.append(figure);
    return canvas;
  });

  const boxes = [...parentElement.querySelectorAll(".shown input")];
  function show() {
    const share = Number(slider.value) / (last * finest);
    const shown = Object.fromEntries(boxes.map((box) => [box.name, box.checked]));
    read.forEach((view, k) => {
      const moment = share * (view.times.length - 1);
      draw(canvases[k], view, points, moment, shown, ink);
      const t = view.times[Math.floor(moment)];
      canvases[k].setAttribute("aria-label", `${view.title}, ${t < 0 ? "the result" : "t = " + t}`);
    });
    const first = read[0];
    const index = Math.floor(share * (first.times.length - 1));
    const ab = first.alphaBars[index];
    caption.textContent = first.times[index] < 0 ? "the result: no noise is left"
      : `t = ${first.times[index]} · ᾱ = ${ab.toPrecision(3)} · log SNR = ${Math.log(ab / (1 - ab)).toFixed(2)}`;
    slider.setAttribute("aria-valuetext", caption.textContent);
  }

  const stop = () => { cancelAnimationFrame(root.timer); root.timer = null; play.textContent = "Play"; };
  const start = () => {
    play.textContent = "Pause";
    if (Number(slider.value) >= last * finest) slider.value = 0;
    const [begun, from] = [performance.now(), Number(slider.value)];
    const step = (now) => {
      slider.value = from + (last * finest * (now - begun)) / (1000 * LONG);
      show();
      if (Number(slider.value) < last * finest) root.timer = requestAnimationFrame(step);
      else stop();
    };
    root.timer = requestAnimationFrame(step);
  };
  const plays = Boolean(root.timer); // what is new goes on playing
  cancelAnimationFrame(root.timer);
  play.onclick = () => (root.timer ? stop() : start());
  slider.oninput = () => { stop(); show(); };
  for (const box of boxes) box.onchange = show;
  if (root.dataset.shown !== data.id) {
    root.dataset.shown = data.id;
    stop();
    slider.value = (data.at ?? 1) * last * finest;
  } else if (plays) start();
  show();
  return () => cancelAnimationFrame(root.timer);
}
