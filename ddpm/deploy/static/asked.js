// What is asked for: one of the page's models and the fields of a request, how they are read, and how a link says them.

import { startOf, timestepsOf } from "./sampling.js";

export const COUNTS = [1, 4, 10, 16];
export const SAMPLER_LABELS = { ddim: "DDIM", dpmpp_2m: "DPM-Solver++", ddpm: "DDPM" };
/** Where a walk may begin, how it is called, and what it takes: a strength, a drawing. */
export const STARTS = {
  noise: { label: "noise" },
  sketch: { label: "a sketch", takes: ["strength", "strokes"] },
  repair: { label: "a repair", takes: ["strokes"] },
  blend: { label: "a blend", takes: ["strength"] },
  branch: { label: "a branch", takes: ["strength"] },
  invert: { label: "an inversion", takes: ["strokes"] },
};
const OF_A_TEACHER = ["branch", "invert"]; // which no distilled model can do
const REPAIR_WORK = 4; // times that of a walk, see editing.js
const MOST_LISTED = 14; // choices in a message
const OF_ANY_MODEL = ["class", "count", "seed", "start", "strength", "strokes"]; // what stays when another model is chosen
/** The app's Playground understands these too; links of before say the names of the fields. */
const IN_LINKS = {
  play_model: ["model"],
  play_draw: ["class"],
  play_count: ["count"],
  play_seed: ["seed"],
  play_sampler: ["sampler"],
  play_steps: ["steps"],
  play_guidance: ["guidance"],
  play_interval: ["from", "to"], // one after the other
  draw_start: ["start"],
  draw_strength: ["strength"],
  draw_strokes: ["strokes"],
};
const WORDS = { class: { all: "all classes", any: "no class" }, sampler: SAMPLER_LABELS };
const STROKES = /^(\d{1,3}:\d{1,4},\d{1,4}(;\d{1,4},\d{1,4})*(\||$))*$/;
const MOST_LETTERS = 20_000; // of a drawing
export const NOTHING = "0"; // of a canvas that was cleared: no strokes at all are those that it opens with

export const oneOf = (values) => ({ read: (text) => (values.includes(text) ? text : null), right: someOf(values) });
export const between = (low, high, whole = true) => ({
  read: (text) => {
    const value = Number(text);
    return text.trim() && value >= low && value <= high && (!whole || Number.isInteger(value)) ? value : null;
  },
  right: `${low} to ${high}`,
});

function someOf(values) {
  return values.slice(0, MOST_LISTED).join(", ") + (values.length > MOST_LISTED ? `, … (${values.length} in all)` : "");
}

export class Asked {
  /** @param models, drawings, strength of model.json, the model to begin with first */
  constructor({ models, drawings, strength }) {
    Object.assign(this, { models, drawings, strength });
    this.use(models[0]);
  }

  /** Ask for images of a model, by its own settings; class, count and seed stay where it has them. */
  use(model) {
    this.model = model;
    this.classes = model.classNames.map((name) => (["all", "any"].includes(name) ? `“${name}”` : name));
    this.choices = model.numClasses ? ["all", ...this.classes, "any"] : ["any"];
    this.lastTimestep = model.alphasCumprod.length - 1;
    this.fields = this.#fields();
    const before = this.wanted ?? {};
    const kept = (name) => (OF_ANY_MODEL.includes(name) && name in before ? this.read(name, String(before[name])) : null);
    this.wanted = {};
    for (const [name, field] of Object.entries(this.fields)) this.wanted[name] = kept(name) ?? field.start;
  }

  /** Every field of a request: how an address or a widget says it (null: not at all), what is right, and its default. */
  #fields() {
    const { model, choices, classes, lastTimestep } = this;
    const aClass = (text) => (choices.includes(text) ? text : (/^\d{1,9}$/.test(text) && classes[Number(text)]) || null);
    const aCount = (text) => model.stepCounts.find((count) => String(count) === text) ?? null;
    const steps = model.distilled ? model.stepCounts.join(", ") : `1 to ${model.stepCounts.at(-1)}`;
    const drawn = (text) => (text === NOTHING || (text.length <= MOST_LETTERS && STROKES.test(text)) ? text : null);
    this.starts = Object.keys(STARTS).filter((start) => !(model.distilled && OF_A_TEACHER.includes(start)));
    return {
      model: { ...oneOf(this.models.map((one) => one.name)), start: model.name },
      class: { read: aClass, right: someOf(choices), start: choices[0] }, // by its name, else by its number
      count: { ...between(1, COUNTS.at(-1)), start: 4 },
      seed: { ...between(0, 999_999_999), start: 0 },
      sampler: { ...oneOf(model.samplers), start: model.start.sampler },
      steps: { read: aCount, right: steps, start: model.start.steps },
      guidance: { ...between(0, 6, false), start: model.start.guidance },
      from: { ...between(0, lastTimestep), start: model.guidanceInterval?.[0] ?? 0 },
      to: { ...between(0, lastTimestep), start: model.guidanceInterval?.[1] ?? lastTimestep },
      start: { ...oneOf(this.starts), start: "noise" },
      strength: { ...between(0, 1, false), start: this.strength },
      strokes: { read: drawn, right: "strokes such as 60:120,400;130,410", start: "" },
    };
  }

  read(name, text) {
    return this.fields[name].read(text);
  }

  /** Change a field. @returns what is wrong with it, "" if nothing is. */
  set(name, text) {
    const value = this.read(name, text);
    if (value === null) return `${name} is ${this.fields[name].right}, not ${text || "empty"}.`;
    if (name === "model" && value !== this.model.name) this.use(this.models.find((one) => one.name === value));
    if (name === "start" && value !== this.wanted.start) this.wanted.strokes = ""; // another drawing
    this.wanted[name] = value;
    const { from, to } = this.wanted; // one end takes the other along
    if (from > to) this.wanted[name === "from" ? "to" : "from"] = value;
    return "";
  }

  /** What a distilled model has learned to do, nearest to where a hand let the slider go. */
  nearestSteps(text) {
    return this.model.stepCounts.reduce((best, one) => (Math.abs(one - text) < Math.abs(best - text) ? one : best));
  }

  /** Ask for what an address says, and for the defaults where it says nothing. @returns what is wrong with it. */
  readAddress(search) {
    const said = [];
    const met = {};
    for (const [how, text] of new URLSearchParams(search)) {
      met[how] = (met[how] ?? -1) + 1;
      const name = how in this.fields ? how : IN_LINKS[how]?.[met[how]];
      if (name) said.push([name, how, text]);
    }
    said.sort((a, b) => (b[0] === "model") - (a[0] === "model")); // which decides what else is right
    this.wanted = {};
    this.use(this.models[0]);
    const faults = [];
    for (const [name, how, text] of said) {
      const word = Object.entries(WORDS[name] ?? {}).find(([, theirs]) => theirs === text)?.[0];
      const value = this.read(name, word ?? text);
      if (value === null) faults.push(`The link asks for ${how}=${text.slice(0, 20)}; right would be ${this.fields[name].right}.`);
      else if (name === "model") this.set(name, value);
      else this.wanted[name] = value;
    }
    const { from, to } = this.wanted;
    [this.wanted.from, this.wanted.to] = [Math.min(from, to), Math.max(from, to)];
    return faults.join("\n");
  }

  address() {
    const hidden = [
      ...(this.models.length > 1 ? [] : ["model"]),
      ...(this.model.distilled ? ["sampler", "guidance", "from", "to"] : []),
      ...(this.wanted.start === "noise" ? ["start"] : []),
      ...["strength", "strokes"].filter((name) => !this.takes(name) || this.wanted[name] === ""),
    ];
    const said = Object.entries(IN_LINKS).flatMap(([theirs, names]) =>
      names.filter((name) => !hidden.includes(name)).map((name) => [theirs, WORDS[name]?.[this.wanted[name]] ?? this.wanted[name]]),
    );
    return `${location.origin}${location.pathname}?${new URLSearchParams(said)}`;
  }

  /** The class of every image, -1 for none. */
  labels() {
    const { wanted, model, classes } = this;
    const one = { all: (i) => i % model.numClasses, any: () => -1 }[wanted.class] ?? (() => classes.indexOf(wanted.class));
    return Array.from({ length: wanted.count }, (_, i) => one(i));
  }

  takes(name) {
    return Boolean(STARTS[this.wanted.start].takes?.includes(name));
  }

  /** The strokes on the canvas: those that were drawn, else those that it opens with. */
  strokes() {
    if (this.wanted.strokes === NOTHING) return "";
    return this.wanted.strokes || this.drawings[this.wanted.start === "repair" ? "mask" : "sketch"];
  }

  timesteps() {
    const { steps, start, strength } = this.wanted;
    if (!this.takes("strength")) return timestepsOf(this.model, steps);
    return timestepsOf(this.model, steps, Math.max(0, startOf(this.model, steps, strength)));
  }

  /** How often the network is asked about an image, all images taken together. */
  evaluations() {
    const { count, guidance, from, to } = this.wanted;
    const guided = guidance !== 1 && this.wanted.class !== "any";
    const each = this.timesteps().reduce((sum, t) => sum + (guided && from <= t && t <= to ? 2 : 1), 0);
    return count * each * (this.wanted.start === "repair" && !this.model.distilled ? REPAIR_WORK : 1);
  }
}
