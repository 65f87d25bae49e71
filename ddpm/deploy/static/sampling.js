// The reverse process, as in ddpm/diffusion.py, ddpm/spacing.py and ddpm/samplers.py, which say where the formulas come
// from. `model` is one of model.json: alphasCumprod, spacing, stepCounts, predictionType, clip, shape, numClasses.

import { noiseOf } from "./noise.js";

/** sqrt(alpha_bar) and sqrt(1 - alpha_bar) at t; of the clean image, t = -1, they are 1 and 0. */
export function scales(model, t) {
  const alphaBar = t < 0 ? 1 : model.alphasCumprod[t];
  return [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
}

export const mix = (a, x, b, y) => x.map((value, i) => a * value + b * y[i]);

const TO_PREDICTION = {
  eps: (a, s, out, x) => ({ x0: mix(1 / a, x, -s / a, out), eps: out }),
  x0: (a, s, out, x) => ({ x0: out, eps: mix(1 / s, x, -a / s, out) }),
  v: (a, s, out, x) => ({ x0: mix(a, x, -s, out), eps: mix(s, x, a, out) }),
  u: (a, s, out, x) => ({ x0: mix(1 / (a + s), x, -s / (a + s), out), eps: mix(1 / (a + s), x, a / (a + s), out) }),
};

// -- which timesteps are visited --------------------------------------------------------------------------------------

/** To the nearest whole number, halves to the even one, as Python rounds. */
export function round(value) {
  const up = Math.round(value);
  return Math.abs(value % 1) === 0.5 && up % 2 ? up - 1 : up;
}

const SPACINGS = {
  leading: (total, steps) => (i) => (steps - 1 - i) * Math.floor(total / steps),
  trailing: (total, steps) => (i) => round((total * (steps - i)) / steps) - 1,
  linspace: (total, steps) => (i) => (steps === 1 ? total - 1 : round(((total - 1) * (steps - 1 - i)) / (steps - 1))),
};

export function spaced(total, steps, spacing) {
  if (spacing !== "quadratic") return Array.from({ length: steps }, (_, i) => SPACINGS[spacing](total, steps)(i));
  const rising = [];
  for (let i = 1; i <= steps; i++) {
    rising.push(Math.max(round(total * (i / steps) ** 2) - 1, rising.length ? rising.at(-1) + 1 : 0));
  }
  return rising.reverse();
}

/** Those of a walk from noise; or from a timestep on, where a distilled model takes those of its own. */
export function timestepsOf(model, steps, start = model.alphasCumprod.length - 1) {
  const total = model.alphasCumprod.length;
  if (model.distilled) return spaced(total, steps, model.spacing).filter((t) => t <= start);
  return spaced(start + 1, Math.min(steps, start + 1), model.spacing);
}

/** The timestep to which a strength of 0 to 1, a share of T, leads back; -1 is no noise at all. */
export function startOf(model, steps, strength) {
  const start = round(strength * model.alphasCumprod.length) - 1;
  if (start < 0 || !model.distilled) return start;
  return timestepsOf(model, steps).reduce((best, t) => (Math.abs(t - start) < Math.abs(best - start) ? t : best));
}

// -- samplers ---------------------------------------------------------------------------------------------------------

export const SAMPLERS = {
  /** Song et al. 2021, eq. 12, with eta = 0. */
  ddim: () => (model, x, { x0, eps }, t, next) => {
    const [a, s] = scales(model, next);
    return mix(a, x0, s, eps);
  },
  /** Lu et al. 2022, algorithm 2 (2M); the first step and the last are DDIM's. */
  dpmpp_2m: () => {
    let before = null;
    let hBefore = Infinity;
    const lambda = (model, t) => Math.log(scales(model, t)[0] / scales(model, t)[1]);
    return (model, x, { x0 }, t, next) => {
      const [, s] = scales(model, t);
      const [aNext, sNext] = scales(model, next);
      const h = lambda(model, next) - lambda(model, t);
      const change = before && next >= 0 ? h / (2 * hBefore) : 0;
      const towards = change ? mix(1 + change, x0, -change, before) : x0;
      [before, hBefore] = [x0, h];
      return mix(sNext / s, x, -aNext * Math.expm1(-h), towards);
    };
  },
  /** Ho et al. 2020, algorithm 2, which is DDIM with the posterior's noise (Song et al. 2021, eq. 16). */
  ddpm: () => (model, x, { x0, eps }, t, next, noise) => {
    const [a, s] = scales(model, next);
    if (next < 0) return x0;
    const [aNow, sNow] = scales(model, t);
    const fresh = (s / sNow) * Math.sqrt(1 - (aNow / a) ** 2);
    return mix(1, mix(a, x0, Math.sqrt(Math.max(0, s ** 2 - fresh ** 2)), eps), fresh, noise());
  },
};

/** Noise for images 0, 1, ... of a seed, a call for each time that a sampler wants some. */
export function noises(model, seed, count, first = 0) {
  const size = model.shape.reduce((a, b) => a * b);
  const streams = Array.from({ length: count }, (_, i) => noiseOf(seed, first + i));
  return () => {
    const x = new Float32Array(count * size);
    streams.forEach((next, i) => x.set(next(size), i * size));
    return x;
  };
}

/** (x, t) -> {x0, eps} of a model, for images of such classes, -1 for none, guided within the interval. */
export function denoiserOf(model, { labels, steps, guidance, interval, clip = model.clip }, network) {
  const count = labels.length;
  const classes = labels.map((label) => (label < 0 ? model.numClasses : label));
  const guided = guidance !== 1 && labels.some((label) => label >= 0);
  return async (x, t) => {
    const guides = guided && interval[0] <= t && t <= interval[1];
    const twice = guides ? 2 : 1;
    const input = new Float32Array(twice * x.length);
    for (let part = 0; part < twice; part++) input.set(x, part * x.length);
    const none = guides ? Array(count).fill(model.numClasses) : [];
    let output = await network(input, t, [...classes, ...none], twice * count, steps);
    if (guides) output = mix(guidance, output.subarray(0, x.length), 1 - guidance, output.subarray(x.length));
    const [a, s] = scales(model, t);
    const prediction = TO_PREDICTION[model.predictionType](a, s, output, x);
    if (!clip) return prediction;
    return TO_PREDICTION.x0(a, s, prediction.x0.map((value) => Math.min(1, Math.max(-1, value))), x);
  };
}

/**
 * Sample, step by step.
 * @param request {labels: one class or -1 for none an image, seed, steps, guidance, interval: the first and the last
 *   timestep at which guidance acts, sampler}
 * @param network async (x, t, y, n, steps) -> output, of n images in one Float32Array
 * @param begin {x, timesteps, noise, holding, repeats, denoise}: where the walk begins, if not at the noise of the seed;
 *   what it keeps, see editing.js; and who is asked in the network's place, see plane_walks.js
 * @yields {index, of, t, x_t, x0}: of + 1 of them; the last, t = -1, holds the images.
 */
export async function* sample(model, request, network, begin = {}) {
  const noise = begin.noise ?? noises(model, request.seed, request.labels.length);
  const timesteps = begin.timesteps ?? timestepsOf(model, request.steps);
  const denoise = begin.denoise ?? (begin.holding ?? ((plain) => plain))(denoiserOf(model, request, network));
  const repeats = begin.repeats ?? 1;
  let x = begin.x ?? noise();
  let step = SAMPLERS[request.sampler]();
  for (const [index, t] of timesteps.entries()) {
    const next = timesteps[index + 1] ?? -1;
    for (let time = next < 0 ? 1 : repeats; time > 0; time--) {
      const prediction = await denoise(x, t);
      if (time === 1) yield { index, of: timesteps.length, t, x_t: x, x0: prediction.x0 };
      if (repeats > 1) step = SAMPLERS[request.sampler](); // every step is a first one
      x = step(model, x, prediction, t, next, noise);
      if (time > 1) {
        const left = model.alphasCumprod[t] / model.alphasCumprod[next];
        x = mix(Math.sqrt(left), x, Math.sqrt(1 - left), noise());
      }
    }
  }
  yield { index: timesteps.length, of: timesteps.length, t: -1, x_t: x, x0: x };
}
