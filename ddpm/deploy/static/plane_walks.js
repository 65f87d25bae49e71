// What the walks of many points through the plane are drawn from: the arrays that the app's server computes in
// pages/components/plane.py.

import { randn, mersenneTwister } from "./noise.js";
import { EXTENT } from "./paths.js";
import { Law, slicedWasserstein } from "./plane_exact.js";
import { Network } from "./plane_network.js";
import { denoiserOf, sample } from "./sampling.js";

const PARTICLES = 1000; // as many as there are data to compare them with
const [FIELD, DENSITY] = [15, 56]; // cells of the field and of the density along a side
const DARKEST = 200; // of 255

/** A schedule of plane.json as a model of sampling.js: one of points with two classes. */
export function modelOf(plane, schedule) {
  return { alphasCumprod: plane.schedules[schedule], spacing: "trailing", predictionType: "v", numClasses: 2, shape: [2] };
}

/** The points of some data that are of a class, or all for -1. */
export function pointsOf({ points, labels }, label) {
  return Float32Array.from(label < 0 ? points : points.filter((_, i) => labels[i >> 1] === label));
}

const grid = Float32Array.from({ length: 2 * FIELD * FIELD }, (_, i) => {
  const cell = i % 2 ? Math.floor(i / 2 / FIELD) : (i / 2) % FIELD | 0;
  return (cell + 0.5) * ((2 * EXTENT) / FIELD) - EXTENT;
});

/** The noise of plane.walk, number for number: for all points at once. */
function noiseOf(seed) {
  const next = mersenneTwister(seed);
  return () => randn(next, 2 * PARTICLES);
}

/** How dark the density is at every moment; that of the latest question is kept, since other answers have the same. */
function densities(law, model, times, question) {
  if (densities.question !== question) {
    densities.question = question;
    densities.answer = times.map((t) => law.density(model, t, DENSITY, EXTENT).map((value) => Math.round(DARKEST * value)));
  }
  return joined(Uint8Array, densities.answer);
}

function joined(Type, parts) {
  const all = new Type(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

/**
 * A walk, as paths.js takes it, and how far its end is from the data.
 * @param asked {data, label: -1 for all, guidance, sampler, steps, schedule}
 * @param parameters of a network that answers, else the exact answer is asked
 */
export async function walk(plane, asked, parameters) {
  const { data, label, guidance, sampler, steps, schedule } = asked;
  const model = modelOf(plane, schedule);
  const law = new Law(plane.data[data].law);
  const exact = law.denoiser(model, label, guidance);
  const network = parameters && new Network(plane.network, model.alphasCumprod.length, parameters);
  const interval = [0, model.alphasCumprod.length - 1];
  const answer = (count) =>
    network ? denoiserOf(model, { labels: Array(count).fill(label), guidance, interval }, network.evaluate.bind(network)) : exact;
  const [ofPoints, ofGrid] = [answer(PARTICLES), answer(FIELD * FIELD)];
  const [states, times, field] = [[], [], []];
  for await (const { t, x_t } of sample(model, { sampler, steps }, null, { denoise: ofPoints, noise: noiseOf(0) })) {
    states.push(x_t);
    times.push(t);
    if (t >= 0) field.push((await ofGrid(grid, t)).x0);
  }
  const end = states.at(-1);
  return {
    times,
    alphaBars: times.map((t) => (t < 0 ? 1 : model.alphasCumprod[t])),
    labels: law.nearestLabels(end),
    particles: joined(Float32Array, states),
    field: joined(Float32Array, field),
    density: densities(label < 0 ? law : law.ofClass(label), model, times, JSON.stringify([data, label, schedule, times])),
    distance: slicedWasserstein(end, pointsOf(plane.data[data], label)),
  };
}
