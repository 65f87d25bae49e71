// What is asked of the plane: how it is read, and how a link says it. The app's Plane understands these links, and the
// page those of the app.

import { between, oneOf, SAMPLER_LABELS } from "./asked.js";

export const ARROWS = { eps: "noise ε", v: "v", u: "velocity u", score: "score" };
export const SCHEDULES = { linear: "linear", rectified: "rectified flow" };
export const CLASSES = ["all", "0", "1"];
export const MOST_STEPS = 100;
const IN_LINKS = {
  plane_data: "data",
  plane_class: "class",
  plane_guidance: "guidance",
  plane_walks: "walk",
  plane_arrows: "arrows",
  plane_learn: "learn",
  plane_count: "count",
  plane_steps: "training",
};
const WALK = /^(.+), (\d{1,3}) steps?(, rectified flow)?$/;

/** "DDIM, 50 steps, rectified flow", as the app calls it; null for what is no walk. */
function readWalk(text) {
  const [, label, steps, flow] = text.match(WALK) ?? [];
  const sampler = Object.keys(SAMPLER_LABELS).find((name) => SAMPLER_LABELS[name] === label);
  if (!sampler || steps < 1 || steps > MOST_STEPS) return null;
  return { sampler, steps: Number(steps), schedule: flow ? "rectified" : "linear" };
}

export function walkText({ sampler, steps, schedule }) {
  const flow = schedule === "rectified" ? ", rectified flow" : "";
  return `${SAMPLER_LABELS[sampler]}, ${steps} step${steps === 1 ? "" : "s"}${flow}`;
}

export class PlaneAsked {
  /** @param plane plane.json */
  constructor({ data, counts, trainingSteps, startSteps }) {
    const walk = { read: readWalk, right: `a walk such as DDIM, 50 steps, up to ${MOST_STEPS}` };
    const number = (values) => {
      const { read, right } = oneOf(values.map(String));
      return { read: (text) => (read(text) === null ? null : Number(text)), right };
    };
    this.fields = {
      data: { ...oneOf(Object.keys(data)), start: Object.keys(data)[0] },
      class: { ...oneOf(CLASSES), start: CLASSES[0] },
      guidance: { ...between(0, 6, false), start: 1 },
      walk: { ...walk, start: readWalk("DDIM, 50 steps") },
      arrows: { ...oneOf(Object.keys(ARROWS)), start: "v" },
      learn: { ...oneOf(["true", "false"]), start: "false" },
      count: { ...number(counts), start: counts.at(-1) },
      training: { ...number(trainingSteps), start: startSteps },
    };
    this.readAddress("");
  }

  /** All that is asked for, the parts of the walk beside the rest. */
  get wanted() {
    const { walk, ...rest } = this.values;
    return { ...rest, ...walk };
  }

  /** Change one of them, which a widget says as text. */
  set(name, text) {
    const { walk } = this.values;
    if (name in walk) this.values.walk = { ...walk, [name]: name === "steps" ? Number(text) : text };
    else this.values[name] = this.fields[name].read(text) ?? this.values[name];
  }

  /** Ask for what an address says, and for the defaults where it says nothing. @returns what is wrong with it. */
  readAddress(search) {
    const said = new URLSearchParams(search);
    const faults = [];
    this.values = {};
    for (const [theirs, name] of Object.entries(IN_LINKS)) {
      const { read, right, start } = this.fields[name];
      const texts = said.getAll(theirs); // the app shows several walks, this page the first that it can do
      const value = texts.map(read).find((one) => one !== null) ?? null;
      if (texts.length && value === null) faults.push(`The link asks for ${theirs}=${texts[0].slice(0, 20)}; right would be ${right}.`);
      this.values[name] = value ?? start;
    }
    return faults.join("\n");
  }

  address() {
    const said = Object.entries(IN_LINKS).map(([theirs, name]) => {
      const value = this.values[name];
      return [theirs, name === "walk" ? walkText(value) : value];
    });
    return `${location.origin}${location.pathname}?${new URLSearchParams(said)}`;
  }
}
