// The page: what is asked for, kept in the address; a worker that draws it; the frames that came, to step through.

import { drawSchedule } from "./chart.js";

const COUNTS = [1, 4, 10, 16];
const MOST_LISTED = 14; // choices in a message
const MOST_OPEN = 160; // letters of all classes together that are shown as chips; more are in a list
const SAMPLER_LABELS = { ddim: "DDIM", dpmpp_2m: "DPM-Solver++" };
const FRAME_MILLISECONDS = 80;
const $ = (id) => document.getElementById(id);
const main = document.querySelector("main");

const model = await fetch("model.json").then(
  (answer) => (answer.ok ? answer.json() : fail(`model.json could not be loaded: the server said ${answer.status}`)),
  (error) => fail(`model.json could not be loaded: ${error.message}`),
);
const worker = new Worker("worker.js", { type: "module" });
let frames = []; // of the latest request
let request = 0;
let engine = "";
let timer = null; // while frames play
let focused = null; // what had the focus when drawing began, since disabling it takes the focus away

// -- what is asked for, and its address -----------------------------------------------------------------------------

const oneOf = (values) => (text) => (values.includes(text) ? text : null);
const between = (low, high, whole) => (text) => {
  const value = Number(text);
  return text.trim() && value >= low && value <= high && (!whole || Number.isInteger(value)) ? value : null;
};
const classes = model.classNames.map((name) => (["all", "any"].includes(name) ? `“${name}”` : name));
const choices = model.numClasses ? ["all", ...classes, "any"] : ["any"];
const maxSteps = model.timesteps.length;
const lastTimestep = model.alphasCumprod.length - 1;
/** What a distilled model has learned to do, nearest to where a hand let the slider go. */
const nearest = (text) => model.stepCounts.reduce((best, one) => (Math.abs(one - text) < Math.abs(best - text) ? one : best));

/** Every field of a request: how an address or a widget says it (null: not at all), what is right, and its default. */
const FIELDS = {
  class: { read: aClass, right: someOf(choices), start: choices[0] },
  count: { read: between(1, COUNTS.at(-1), true), right: `1 to ${COUNTS.at(-1)}`, start: 4 },
  seed: { read: between(0, 999_999_999, true), right: "0 to 999999999", start: 0 },
  sampler: { read: oneOf(model.samplers), right: model.samplers.join(", "), start: model.start.sampler },
  steps: {
    read: (text) => model.stepCounts.find((count) => String(count) === text) ?? null,
    right: model.distilled ? model.stepCounts.join(", ") : `1 to ${maxSteps}`,
    start: model.start.steps,
  },
  guidance: { read: between(0, 6, false), right: "0 to 6", start: model.start.guidance },
  from: { read: between(0, lastTimestep, true), right: `0 to ${lastTimestep}`, start: model.guidanceInterval?.[0] ?? 0 },
  to: {
    read: between(0, lastTimestep, true),
    right: `0 to ${lastTimestep}`,
    start: model.guidanceInterval?.[1] ?? lastTimestep,
  },
};
/** How a link says them, which the app's Playground understands too; links of before say the names of the fields. */
const IN_LINKS = {
  play_draw: ["class"],
  play_count: ["count"],
  play_seed: ["seed"],
  play_sampler: ["sampler"],
  play_steps: ["steps"],
  play_guidance: ["guidance"],
  play_interval: ["from", "to"], // one after the other
};
const WORDS = { class: { all: "all classes", any: "no class" }, sampler: SAMPLER_LABELS };
const wanted = {};

/** A class by its name, else by its number. */
function aClass(text) {
  return choices.includes(text) ? text : (/^\d{1,9}$/.test(text) && classes[Number(text)]) || null;
}

function someOf(values) {
  return values.slice(0, MOST_LISTED).join(", ") + (values.length > MOST_LISTED ? `, … (${values.length} in all)` : "");
}
const SLIDER_TEXTS = {
  steps: nearest,
  guidance: (value) => (Number(value) === 1 ? "1, off" : String(value)),
  from: String,
  to: String,
};

function readAddress() {
  const faults = [];
  for (const [name, field] of Object.entries(FIELDS)) wanted[name] = field.start;
  const met = {};
  for (const [said, text] of new URLSearchParams(location.search)) {
    met[said] = (met[said] ?? -1) + 1;
    const name = said in FIELDS ? said : IN_LINKS[said]?.[met[said]];
    if (!name) continue;
    const word = Object.entries(WORDS[name] ?? {}).find(([, theirs]) => theirs === text)?.[0];
    const value = FIELDS[name].read(word ?? text);
    if (value === null) faults.push(`The link asks for ${said}=${text.slice(0, 20)}; right would be ${FIELDS[name].right}.`);
    else wanted[name] = value;
  }
  if (wanted.from > wanted.to) [wanted.from, wanted.to] = [wanted.to, wanted.from];
  return faults.join("\n");
}

function address() {
  const offered = (name) => !(model.distilled && ["sampler", "guidance", "from", "to"].includes(name));
  const said = Object.entries(IN_LINKS).flatMap(([theirs, names]) =>
    names.filter(offered).map((name) => [theirs, WORDS[name]?.[wanted[name]] ?? wanted[name]]),
  );
  return `${location.origin}${location.pathname}?${new URLSearchParams(said)}`;
}

function labels() {
  const one = { all: (i) => i % model.numClasses, any: () => -1 }[wanted.class] ?? (() => classes.indexOf(wanted.class));
  return Array.from({ length: wanted.count }, (_, i) => one(i));
}

// -- widgets --------------------------------------------------------------------------------------------------------

function addChips(id, name, values, label = String) {
  for (const value of values) {
    const chip = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
    const text = Object.assign(document.createElement("span"), { textContent: label(value) });
    chip.append(input, text);
    $(id).querySelector(".chips").append(chip);
  }
}

function addList(id, name, label, values) {
  const list = Object.assign(document.createElement("select"), { id: name, name, ariaLabel: label });
  list.append(...values.map((value) => new Option(value, value)));
  $(id).querySelector(".chips").append(list);
}

function showWanted() {
  for (const [name, value] of Object.entries(wanted)) {
    const radios = [...document.querySelectorAll(`input[type=radio][name=${name}]`)];
    const radio = radios.find((one) => one.value === String(value));
    if (radio) radio.checked = true;
    else if ($(name)) $(name).value = value;
  }
  for (const name of Object.keys(SLIDER_TEXTS)) $(`${name}_text`).textContent = SLIDER_TEXTS[name](wanted[name]);
  for (const name of ["guidance", "from", "to"]) $(name).disabled = wanted.class === "any";
}

function change(name, text) {
  const value = FIELDS[name].read(text);
  tell(value === null ? `${name} is ${FIELDS[name].right}, not ${text || "empty"}.` : "");
  if (value === null || value === wanted[name]) return;
  wanted[name] = value;
  if (wanted.from > wanted.to) wanted[name === "from" ? "to" : "from"] = value; // one end takes the other along
  history.pushState(null, "", address());
  showWanted();
  draw();
}

function tell(fault) {
  $("notice").textContent = fault;
  $("notice").hidden = !fault;
}

// -- drawing --------------------------------------------------------------------------------------------------------

function setBusy(busy) {
  if (busy && document.activeElement !== document.body) focused = document.activeElement;
  $("download").disabled = $("play").disabled = $("frame").disabled = busy || !frames.length;
  $("stop").hidden = !busy;
  if (busy) return;
  if (document.activeElement === document.body) focused?.focus({ preventScroll: true });
  focused = null;
}

function draw() {
  if (!engine) return; // still loading: the request current by then is drawn
  stopPlaying();
  frames = [];
  setBusy(true);
  main.dataset.state = "busy";
  $("pictures").classList.add("before");
  $("copied").textContent = $("frame_text").textContent = "";
  const { seed, steps, guidance, from, to, sampler } = wanted;
  const asked = { labels: labels(), seed, steps, guidance, interval: [from, to], sampler };
  worker.postMessage({ type: "draw", id: ++request, request: asked });
  $("status").textContent = "Starting from noise …";
  $("progress").value = 0;
}

function addFrame(step) {
  if (step.id !== request) return;
  frames.push(step);
  $("pictures").classList.remove("before");
  $("progress").value = step.index / wanted.steps;
  showFrame(frames.length - 1);
  if (step.t >= 0) {
    const left = (step.seconds / (step.index + 1)) * (wanted.steps - step.index - 1);
    $("status").textContent = `Step ${step.index + 1} of ${wanted.steps}, about ${Math.ceil(left)} s left`;
    return;
  }
  main.dataset.state = "done";
  setBusy(false);
  const [images, steps] = [counted(wanted.count, "image"), counted(wanted.steps, "step")];
  $("status").textContent = `${images} in ${step.seconds.toFixed(1)} s: ${steps}, ${engine}.`;
  keepOffline();
}

const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

function stop() {
  request++; // frames still to come belong to an older one
  worker.postMessage({ type: "stop" });
  main.dataset.state = "stopped";
  setBusy(false);
  $("status").textContent = `Stopped after ${frames.length} of ${counted(wanted.steps, "step")}.`;
  if (frames.length) showFrame(frames.length - 1);
}

/** Images in [-1, 1] beside and below each other; black between them. */
function paint(canvas, values, text) {
  const [channels, height, width] = model.shape;
  const count = wanted.count;
  const columns = count === 10 ? 5 : Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  canvas.width = columns * width;
  canvas.height = rows * height;
  canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  const picture = new ImageData(canvas.width, canvas.height);
  for (let i = 0; i < count; i++) {
    for (let pixel = 0; pixel < height * width; pixel++) {
      const row = Math.floor(i / columns) * height + Math.floor(pixel / width);
      const place = 4 * (row * canvas.width + (i % columns) * width + (pixel % width));
      for (let channel = 0; channel < 3; channel++) {
        const plane = i * channels + Math.min(channel, channels - 1);
        picture.data[place + channel] = Math.round((values[plane * height * width + pixel] + 1) * 127.5); // clamped
      }
      picture.data[place + 3] = 255;
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.setAttribute("aria-label", text);
}

function showFrame(index) {
  const step = frames[index];
  const where = step.t < 0 ? "image" : `t = ${step.t}`;
  paint($("x_t"), step.x_t, `${wanted.count} images, the state: ${where}`);
  paint($("x0"), step.x0, `${wanted.count} images, predicted: ${where}`);
  $("frame").max = Math.max(1, main.dataset.state === "busy" ? wanted.steps : frames.length - 1);
  $("frame").value = index;
  $("frame_text").textContent = `${index} of ${wanted.steps}: ${where}`;
  $("frame").setAttribute("aria-valuetext", $("frame_text").textContent);
  drawChart();
}

function drawChart() {
  const width = Math.max(280, Math.round($("schedule").clientWidth));
  const step = frames[Number($("frame").value)];
  drawSchedule($("schedule"), width, model, model.timesteps[wanted.steps - 1], step?.t ?? model.alphasCumprod.length);
}

// -- frames, download, link, offline --------------------------------------------------------------------------------

function stopPlaying() {
  clearInterval(timer);
  timer = null;
  $("play").textContent = "Play";
}

function play() {
  if (timer) return stopPlaying();
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
  const { class: which, count, seed, sampler, steps, guidance } = wanted;
  const { t } = frames[Number($("frame").value)];
  const parts = [model.name, which.replace(/[^\p{L}\p{N}.-]+/gu, "-"), `${count}x`, `seed${seed}`, `${sampler}${steps}`, `guidance${guidance}`];
  if (t >= 0) parts.push(`x0_at_t${t}`);
  const link = { href: large.toDataURL("image/png"), download: `${parts.join("_")}.png` };
  Object.assign(document.createElement("a"), link).click();
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(address());
    $("copied").textContent = "Copied: it draws this picture again.";
  } catch {
    $("copied").textContent = "The browser does not let the page copy: the address above is the link.";
  }
}

/** After the first picture, so that nothing is loaded twice at once. */
async function keepOffline() {
  if (keepOffline.done || !("serviceWorker" in navigator) || !window.isSecureContext) return;
  keepOffline.done = true;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    const used = model.offline.filter((name) => !name.startsWith("ort/") || name.includes("webgpu") === engine.startsWith("WebGPU"));
    const cache = await caches.open(`${model.version} ${new URL("./", location.href)}`);
    await Promise.all(used.map(async (name) => (await cache.match(name)) || cache.add(name)));
    main.dataset.offline = "ready";
  } catch (error) {
    main.dataset.offline = error.message; // the page still works; it only needs its server next time
  }
}

// -- the start ------------------------------------------------------------------------------------------------------

if (choices.join("").length <= MOST_OPEN) addChips("classes", "class", choices);
else addList("classes", "class", "Class", choices);
addChips("counts", "count", COUNTS);
addChips("samplers", "sampler", model.samplers, (name) => SAMPLER_LABELS[name]);
$("classes").hidden = !model.numClasses;
$("guiding").hidden = !model.numClasses || model.distilled;
$("steps").max = maxSteps;
$("from").max = $("to").max = lastTimestep;
$("model").textContent = model.about;
for (const [text, href] of Object.entries(model.links)) {
  $("links").append(Object.assign(document.createElement("a"), { textContent: text, href }), " ");
}
tell(readAddress());
showWanted();
drawChart();

for (const form of [$("what"), $("how")]) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    change(target.name, target.name === "steps" ? String(nearest(target.value)) : target.value);
    showWanted(); // the slider may have been let go between two numbers
  });
}
for (const name of Object.keys(SLIDER_TEXTS)) {
  $(name).addEventListener("input", ({ target }) => ($(`${name}_text`).textContent = SLIDER_TEXTS[name](target.value)));
}
const roll = () => change("seed", String(Math.floor(Math.random() * 1_000_000)));
$("roll").addEventListener("click", roll);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=number]") || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key.toLowerCase() === "r" && !typing) roll();
});
addEventListener("popstate", () => {
  tell(readAddress());
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
$("link").addEventListener("click", copyLink);
new ResizeObserver(drawChart).observe($("result"));

worker.onerror = (event) => fail(event.message || "the worker did not start");
worker.onmessage = ({ data }) => {
  if (main.dataset.state === "failed") return; // anything still loading comes too late
  if (data.type === "step") addFrame(data);
  else if (data.type === "failed") fail(data.message);
  else if (data.type === "loading") {
    $("progress").value = data.done / data.total;
    $("status").textContent = `Loading the model: ${(data.done / 1e6).toFixed(1)} of ${(data.total / 1e6).toFixed(1)} MB`;
  } else {
    engine = data.engine;
    history.replaceState(null, "", address());
    draw();
  }
};

/** Say what did not work, instead of showing what would not work without it. */
function fail(message) {
  main.dataset.state = "failed";
  $("stop").hidden = true;
  $("status").textContent = "This did not work.";
  tell(`${message}. Reload the page. If it stays: is the server there, and the browser a recent one?`);
  return new Promise(() => {}); // never settles: whatever awaits it stops here
}

worker.postMessage({ type: "load", model, engine: new URLSearchParams(location.search).get("engine") });
