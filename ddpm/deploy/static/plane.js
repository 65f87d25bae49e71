// The page of the plane: what is asked for, kept in the address; one worker that computes walks, and one that trains.

import { SAMPLER_LABELS } from "./asked.js";
import { keepOffline } from "./offline.js";
import drawPaths from "./paths.js";
import { ARROWS, CLASSES, PlaneAsked, SCHEDULES, walkText } from "./plane_asked.js";
import { drawLoss } from "./plane_loss.js";
import { $, chips, copyLink, fail, load, main, showFields, tell } from "./widgets.js";

const MIDWAY = 0.6; // of a walk's clock: where arrows of both answers are worth comparing
const SHOWN_DATA = 600; // points of the data that are drawn

const [page, plane, html] = await Promise.all([
  load("model.json"), load("plane.json"), fetch("paths.html").then((answer) => answer.text()),
]);
$("walks").innerHTML = html;
const asked = new PlaneAsked(plane);
const walker = startWorker();
const views = {}; // of the exact and of the learned answer, as they came
const waiting = {}; // what is to be asked of the walker, by the same names: the newest alone
let walking = false;
let trainer = null;
let training = null; // {key, data, count, schedule, steps, losses, parameters}: the network that learns or has learned

function startWorker() {
  const worker = new Worker("plane_worker.js", { type: "module" });
  worker.onerror = (event) => fail(event.message || "the worker did not start");
  worker.postMessage({ plane });
  return worker;
}

// -- widgets --------------------------------------------------------------------------------------------------------

const thousands = (value) => Number(value).toLocaleString("en");
const isLearning = () => Boolean(training) && training.losses.length < training.steps;

function showWanted() {
  const { wanted } = asked;
  showFields(wanted);
  $("steps_text").textContent = wanted.steps;
  $("guidance_text").textContent = wanted.guidance === 1 ? "1, off" : wanted.guidance;
  $("guiding").hidden = wanted.class === "all";
  $("train").textContent = wanted.learn === "true" ? "Only the exact answer" : "Train it here";
}

/** @param replaces the entry of the history, while a slider is dragged */
function change(name, text, replaces) {
  const before = asked.address();
  asked.set(name, text);
  if (asked.address() !== before) {
    tell("");
    history[replaces && change.dragged ? "replaceState" : "pushState"](null, "", asked.address());
    answer();
  }
  change.dragged = replaces;
  showWanted();
}

// -- walks and training ---------------------------------------------------------------------------------------------

/** What both answers are asked. */
function walkWanted() {
  const { data, class: which, guidance, sampler, steps, schedule } = asked.wanted;
  const label = which === "all" ? -1 : Number(which);
  return { data, label, guidance: label < 0 ? 1 : guidance, sampler, steps, schedule };
}

/** Ask for everything that is wanted and not there. */
function answer() {
  const walk = walkWanted();
  if (views.exact?.key !== JSON.stringify(walk)) waiting.exact = { walk };
  const { learn, data, count, training: steps, schedule } = asked.wanted;
  const key = JSON.stringify([data, count, steps, schedule]);
  if (learn === "false") forget();
  else if (training?.key !== key) begin({ key, data, count, steps, schedule });
  if (training?.parameters) waiting.learned = { walk, ...training };
  next();
  show();
}

function begin(what) {
  forget();
  training = { ...what, losses: [], parameters: null };
  const worker = (trainer = startWorker());
  worker.postMessage({ train: what });
  worker.onmessage = ({ data }) => {
    if (worker !== trainer) return; // it was ended, and this was on its way
    training.losses.push(...data.losses);
    training.parameters = data.parameters;
    waiting.learned = { walk: walkWanted(), ...training };
    if (!isLearning()) endWorker();
    next();
    show();
  };
  if (what.count < plane.counts.at(-1)) $("walks").querySelector("[name=data]").checked = true; // to see them again
}

function endWorker() {
  trainer?.terminate();
  trainer = null;
}

function forget() {
  endWorker();
  training = null;
  delete views.learned;
  delete waiting.learned;
}

/** One walk at a time; the exact answer first. */
function next() {
  const kind = ["exact", "learned"].find((one) => waiting[one]);
  if (walking || !kind) return;
  walking = true;
  const { walk, parameters, key } = waiting[kind];
  delete waiting[kind];
  walker.postMessage({ kind, walk, parameters, of: key });
}

walker.onmessage = ({ data: { kind, walk, of, view } }) => {
  walking = false;
  if (training?.key === of || kind === "exact") views[kind] = { key: JSON.stringify(walk), ...view };
  next();
  show();
};

// -- what is shown --------------------------------------------------------------------------------------------------

function titleOf(kind) {
  const { distance } = views[kind];
  const measured = `distance to the data ${distance.toFixed(3)}`;
  if (kind === "exact") return `the exact answer: ${measured}`;
  const { losses, steps, count } = training;
  const learned = `learned from ${thousands(count)} points in ${thousands(losses.length)}`;
  return `${learned}${isLearning() ? ` of ${thousands(steps)}` : ""} steps: ${measured}`;
}

function show() {
  const learns = isLearning();
  const busy = walking || learns;
  main.dataset.state = busy ? "busy" : "done";
  $("stop").hidden = !learns;
  $("learning").hidden = !training;
  $("progress").value = training ? training.losses.length / training.steps : 0;
  $("progress").style.visibility = learns ? "visible" : "hidden";
  if (learns) $("status").textContent = `Learning: step ${thousands(training.losses.length)} of ${thousands(training.steps)}`;
  else $("status").textContent = `1,000 points walk: ${walkText(asked.wanted)}.`;
  if (training) showLoss();
  if (views.exact?.key === JSON.stringify(walkWanted())) showPaths(learns); // until then what was there stays
  if (!busy) keepOffline(page, (name) => !/^ort\/|\.onnx$/.test(name));
}

function showPaths(learns) {
  const kinds = Object.keys(views).sort(); // the exact one first
  const shown = kinds.map((kind) => ({ ...views[kind], title: titleOf(kind), shows: asked.wanted.arrows }));
  const known = 2 * Math.min(SHOWN_DATA, asked.wanted.learn === "true" ? asked.wanted.count : SHOWN_DATA);
  const points = Float32Array.from(plane.data[asked.wanted.data].points.slice(0, known));
  const data = { views: shown, points, id: `${views.exact.key} ${learns}`, at: learns ? MIDWAY : 1, field: learns || undefined };
  drawPaths({ data, parentElement: $("walks") });
}

function showLoss() {
  const { losses, steps, data, schedule, count } = training;
  const floor = plane.data[data].floors[schedule];
  drawLoss($("loss"), Math.max(280, Math.round($("loss").clientWidth)), losses, steps, floor);
  const latest = losses.slice(-100);
  const mean = latest.reduce((sum, loss) => sum + loss, 0) / latest.length;
  $("learned").textContent = losses.length
    ? `Loss ${mean.toFixed(3)}; that of the exact answer ${floor.toFixed(3)}.` +
      (mean < floor && count < plane.counts.at(-1) ? ` Less than it: the ${count} points are being learned by heart.` : "")
    : "";
}

// -- the start ------------------------------------------------------------------------------------------------------

chips("datas", "data", Object.keys(plane.data));
chips("classes", "class", CLASSES);
chips("samplers", "sampler", Object.keys(SAMPLER_LABELS), (name) => SAMPLER_LABELS[name]);
chips("schedules", "schedule", Object.keys(SCHEDULES), (name) => SCHEDULES[name]);
chips("arrows", "arrows", Object.keys(ARROWS), (name) => ARROWS[name]);
chips("counts", "count", plane.counts, thousands);
chips("trainings", "training", plane.trainingSteps, thousands);
for (const [text, href] of Object.entries(page.links)) {
  $("links").append(Object.assign(document.createElement("a"), { textContent: text, href }), " ");
}

for (const form of [$("what"), $("how")]) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => change(target.name, target.value, false));
}
for (const name of ["steps", "guidance"]) $(name).addEventListener("input", ({ target }) => change(name, target.value, true));
$("train").addEventListener("click", () => change("learn", String(asked.wanted.learn === "false"), false));
$("stop").addEventListener("click", () => change("learn", "false", false));
$("link").addEventListener("click", () => copyLink(asked.address(), "it shows this again"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show); // the ink of what is drawn
new ResizeObserver(() => training && showLoss()).observe($("result"));

function restore() {
  tell(asked.readAddress(location.search));
  showWanted();
  answer();
}
addEventListener("popstate", restore);
restore();
history.replaceState(null, "", asked.address());
