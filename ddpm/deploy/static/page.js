// The page: what is asked for, kept in the address; a worker that draws it; the frames that came, to step through.

import { Asked, COUNTS, NOTHING, SAMPLER_LABELS, STARTS } from "./asked.js";
import { drawSchedule } from "./chart.js";
import { Drawing, pixelsOf } from "./drawing.js";
import { keepOffline } from "./offline.js";
import { $, chips, copyLink, fail, list, load, main, showFields, tell } from "./widgets.js";

const MOST_OPEN = 160; // letters of all classes together that are shown as chips; more are in a list
const FRAME_MILLISECONDS = 80;
const GAP = 2; // pixels between two images
const LIVE_SECONDS = 0.3; // a picture that takes less follows a slider while it is dragged

const page = await load("model.json");
const asked = new Asked(page);
const drawing = new Drawing($("drawing"), (strokes, more) => redraw(strokes, more));
const worker = new Worker("worker.js", { type: "module" });
const paces = {}; // of each model: seconds of an evaluation of one image, in the latest picture
let request = 0;
let coming = null; // the picture that is being drawn
let shown = null; // the one that can be stepped through: the same, or the one before while a quick one is drawn
let dragged = false; // whether a slider is in a hand that the picture has followed
let engine = "";
let timer = null; // while frames play
let focused = null; // what had the focus when drawing began, since disabling it takes the focus away

// -- widgets --------------------------------------------------------------------------------------------------------

const SLIDER_TEXTS = {
  strength: (value) => Number(value).toFixed(2),
  steps: (value) => asked.nearestSteps(value),
  guidance: (value) => (Number(value) === 1 ? "1, off" : String(value)),
  from: String,
  to: String,
};

/** What can be asked of the model. */
function offer() {
  const { model, choices, lastTimestep } = asked;
  if (choices.join("").length <= MOST_OPEN) chips("classes", "class", choices);
  else list("classes", "class", "Class", choices);
  chips("samplers", "sampler", model.samplers, (name) => SAMPLER_LABELS[name]);
  chips("starts", "start", asked.starts, (name) => STARTS[name].label);
  $("classes").hidden = !model.numClasses;
  $("guiding").hidden = !model.numClasses || model.distilled;
  $("steps").max = model.stepCounts.at(-1);
  $("from").max = $("to").max = lastTimestep;
  $("model").textContent = model.about;
  offer.made = model;
}

function showWanted() {
  if (offer.made !== asked.model) offer();
  showFields(asked.wanted);
  for (const name of Object.keys(SLIDER_TEXTS)) $(`${name}_text`).textContent = SLIDER_TEXTS[name](asked.wanted[name]);
  for (const name of ["guidance", "from", "to"]) $(name).disabled = asked.wanted.class === "any";
  const { start } = asked.wanted;
  $("strengths").hidden = !asked.takes("strength");
  $("drawing").hidden = !asked.takes("strokes");
  for (const hint of document.querySelectorAll("[data-start]")) hint.hidden = hint.dataset.start !== start;
  if (asked.takes("strokes")) drawing.show(start, asked.strokes());
}

/** Of strokes that were drawn, or are still being drawn. */
function redraw(strokes, drawn) {
  asked.wanted.strokes = strokes || NOTHING;
  if (!drawn && !isQuick()) return;
  history[dragged ? "replaceState" : "pushState"](null, "", asked.address());
  dragged = !drawn;
  draw();
}

function change(name, text) {
  const before = JSON.stringify(asked.wanted);
  tell(asked.set(name, text));
  if (JSON.stringify(asked.wanted) === before) return;
  history.pushState(null, "", asked.address());
  showWanted();
  draw();
}

/** While a slider is dragged: the picture follows if that is quick, else only the number does. */
function follow(name, text) {
  $(`${name}_text`).textContent = SLIDER_TEXTS[name](text);
  const before = { ...asked.wanted };
  if (asked.read(name, text) === before[name] || asked.set(name, text)) return;
  if (!isQuick()) {
    asked.wanted = before;
    return;
  }
  history[dragged ? "replaceState" : "pushState"](null, "", asked.address()); // one step back for the whole of it
  dragged = true;
  showWanted();
  draw();
}

function isQuick() {
  return asked.evaluations() * (paces[asked.model.name] ?? Infinity) <= LIVE_SECONDS;
}

// -- drawing --------------------------------------------------------------------------------------------------------

function setBusy(busy) {
  if (busy && document.activeElement !== document.body) focused = document.activeElement;
  $("download").disabled = $("play").disabled = $("frame").disabled = busy || !shown?.frames.length;
  $("stop").hidden = !busy;
  if (busy) return;
  if (document.activeElement === document.body) focused?.focus({ preventScroll: true });
  focused = null;
}

function draw() {
  if (!engine) return; // still loading: the request current by then is drawn
  stopPlaying();
  const { seed, steps, guidance, from, to, sampler, count, start, strength } = asked.wanted;
  const what = { labels: asked.labels(), seed, steps, guidance, interval: [from, to], sampler, start, strength };
  if (asked.takes("strokes")) {
    const pixels = pixelsOf(asked.strokes(), asked.model.shape, start === "repair");
    what[start === "repair" ? "mask" : "image"] = pixels;
  }
  const timesteps = asked.timesteps();
  coming = {
    model: asked.model, wanted: { ...asked.wanted }, count, steps: timesteps.length, timesteps, frames: [], quick: isQuick(),
  };
  main.dataset.state = "busy";
  $("copied").textContent = "";
  worker.postMessage({ type: "draw", id: ++request, model: asked.model.name, request: what });
  if (coming.quick) return; // what is shown stays until it is there
  shown = coming;
  setBusy(true);
  $("pictures").classList.add("before");
  $("frame_text").textContent = "";
  $("status").textContent = "Starting from noise …";
  $("progress").value = 0;
}

function addFrame(step) {
  if (step.id !== request) return;
  coming.steps = step.of;
  const { frames, steps, count } = coming;
  frames.push(step);
  if (step.t >= 0) {
    if (coming.quick) return;
    $("pictures").classList.remove("before");
    $("progress").value = step.index / steps;
    showFrame(frames.length - 1);
    const left = (step.seconds / (step.index + 1)) * (steps - step.index - 1);
    $("status").textContent = `Step ${step.index + 1} of ${steps}, about ${Math.ceil(left)} s left`;
    return;
  }
  shown = coming;
  if (step.pace < Infinity) paces[coming.model.name] = step.pace;
  main.dataset.state = "done";
  $("progress").value = 1;
  showFrame(frames.length - 1);
  setBusy(false);
  const seconds = step.seconds.toFixed(step.seconds < 1 ? 2 : 1);
  $("status").textContent = `${counted(count, "image")} in ${seconds} s: ${counted(steps, "step")}, ${engine}.`;
  keepOffline(page, (name) => !name.startsWith("ort/") || name.includes("webgpu") === engine.startsWith("WebGPU"));
}

const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

function stop() {
  request++; // frames still to come belong to an older one
  worker.postMessage({ type: "stop" });
  main.dataset.state = "stopped";
  setBusy(false);
  $("status").textContent = `Stopped after ${shown.frames.length} of ${counted(shown.steps, "step")}.`;
  if (shown.frames.length) showFrame(shown.frames.length - 1);
}

/** Images in [-1, 1] beside and below each other. */
function paint(canvas, values, text) {
  const [channels, height, width] = shown.model.shape;
  const count = shown.count;
  const columns = count === 10 ? 5 : Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  canvas.width = columns * (width + GAP) - GAP;
  canvas.height = rows * (height + GAP) - GAP;
  canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(128 128 128)"; // between images, as in the app: quiet on a light page and on a dark one
  context.fillRect(0, 0, canvas.width, canvas.height);
  const picture = new ImageData(width, height);
  for (let i = 0; i < count; i++) {
    for (let pixel = 0; pixel < height * width; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        const plane = i * channels + Math.min(channel, channels - 1);
        picture.data[4 * pixel + channel] = Math.round((values[plane * height * width + pixel] + 1) * 127.5); // clamped
      }
      picture.data[4 * pixel + 3] = 255;
    }
    context.putImageData(picture, (i % columns) * (width + GAP), Math.floor(i / columns) * (height + GAP));
  }
  canvas.setAttribute("aria-label", text);
}

function showFrame(index) {
  const { frames, count, steps } = shown;
  const step = frames[index];
  const where = step.t < 0 ? "image" : `t = ${step.t}`;
  paint($("x_t"), step.x_t, `${count} images, the state: ${where}`);
  paint($("x0"), step.x0, `${count} images, predicted: ${where}`);
  $("frame").max = Math.max(1, main.dataset.state === "busy" ? steps : frames.length - 1);
  $("frame").value = index;
  $("frame_text").textContent = `${index} of ${steps}: ${where}`;
  $("frame").setAttribute("aria-valuetext", $("frame_text").textContent);
  drawChart();
}

function drawChart() {
  const width = Math.max(280, Math.round($("schedule").clientWidth));
  const { model, timesteps } = shown ?? { model: asked.model, timesteps: asked.timesteps() };
  const step = shown?.frames[Number($("frame").value)];
  drawSchedule($("schedule"), width, model, timesteps, step?.t ?? model.alphasCumprod.length);
}

// -- frames, download ------------------------------------------------------------------------------------------------

function stopPlaying() {
  clearInterval(timer);
  timer = null;
  $("play").textContent = "Play";
}

function play() {
  if (timer) return stopPlaying();
  const { frames } = shown;
  let index = Number($("frame").value);
  if (index === frames.length - 1) index = -1;
  $("play").textContent = "Pause";
  timer = setInterval(() => {
    showFrame(++index);
    if (index === frames.length - 1) stopPlaying();
  }, FRAME_MILLISECONDS);
}

function download() {
  const scale = 8;
  const small = $("x0");
  const large = Object.assign(document.createElement("canvas"), {
    width: small.width * scale,
    height: small.height * scale,
  });
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, large.width, large.height);
  const { class: which, count, seed, sampler, steps, guidance } = shown.wanted;
  const { t } = shown.frames[Number($("frame").value)];
  const parts = [shown.model.name, which.replace(/[^\p{L}\p{N}.-]+/gu, "-"), `${count}x`, `seed${seed}`, `${sampler}${steps}`, `guidance${guidance}`];
  if (t >= 0) parts.push(`x0_at_t${t}`);
  const link = { href: large.toDataURL("image/png"), download: `${parts.join("_")}.png` };
  Object.assign(document.createElement("a"), link).click();
}

// -- the start ------------------------------------------------------------------------------------------------------

chips("counts", "count", COUNTS);
chips("models", "model", page.models.map((one) => one.name));
$("models").hidden = page.models.length === 1;
for (const [text, href] of Object.entries(page.links)) {
  $("links").append(Object.assign(document.createElement("a"), { textContent: text, href }), " ");
}
tell(asked.readAddress(location.search));
showWanted();
drawChart();

for (const form of [$("what"), $("how")]) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (!(target.name in asked.fields)) return; // the pen's width
    dragged = false;
    change(target.name, target.name === "steps" ? String(asked.nearestSteps(target.value)) : target.value);
    showWanted(); // the slider may have been let go between two numbers
  });
}
for (const name of Object.keys(SLIDER_TEXTS)) {
  const text = ({ value }) => (name === "steps" ? String(asked.nearestSteps(value)) : value);
  $(name).addEventListener("input", ({ target }) => follow(name, text(target)));
}
const roll = () => change("seed", String(Math.floor(Math.random() * 1_000_000)));
$("roll").addEventListener("click", roll);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=number]") || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key.toLowerCase() === "r" && !typing) roll();
});
addEventListener("popstate", () => {
  tell(asked.readAddress(location.search));
  showWanted();
  draw();
});
$("play").addEventListener("click", play);
$("stop").addEventListener("click", stop);
$("frame").addEventListener("input", ({ target }) => {
  stopPlaying();
  showFrame(Number(target.value));
});
$("download").addEventListener("click", download);
$("link").addEventListener("click", () => copyLink(asked.address(), "it draws this picture again"));
new ResizeObserver(drawChart).observe($("result"));

worker.onerror = (event) => fail(event.message || "the worker did not start");
worker.onmessage = ({ data }) => {
  if (main.dataset.state === "failed") return; // anything still loading comes too late
  if (data.type === "step") addFrame(data);
  else if (data.type === "original" && data.id === request) drawing.below(data.original, asked.model.shape);
  else if (data.type === "failed") fail(data.message);
  else if (data.type === "loading") {
    $("progress").value = data.done / data.total;
    $("status").textContent = `Loading the model: ${(data.done / 1e6).toFixed(1)} of ${(data.total / 1e6).toFixed(1)} MB`;
  } else {
    engine = data.engine;
    history.replaceState(null, "", asked.address());
    draw();
  }
};

worker.postMessage({ type: "load", page, model: asked.model.name, engine: new URLSearchParams(location.search).get("engine") });
