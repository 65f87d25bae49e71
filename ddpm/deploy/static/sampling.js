// The reverse process, as in ddpm/diffusion.py and ddpm/samplers.py, which say where the formulas come from.
// `model` is model.json: alphasCumprod, timesteps by number of steps, predictionType, clip, shape, numClasses.

import { imageNoise } from "./noise.js";

/** sqrt(alpha_bar) and sqrt(1 - alpha_bar) at t; of the clean image, t = -1, they are 1 and 0. */
export function scales(model, t) {
  const alphaBar = t < 0 ? 1 : model.alphasCumprod[t];
  return [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
}

const mix = (a, x, b, y) => x.map((value, i) => a * value + b * y[i]);

const TO_PREDICTION = {
  eps: (a, s, out, x) => ({ x0: mix(1 / a, x, -s / a, out), eps: out }),
  x0: (a, s, out, x) => ({ x0: out, eps: mix(1 / s, x, -a / s, out) }),
  v: (a, s, out, x) => ({ x0: mix(a, x, -s, out), eps: mix(s, x, a, out) }),
  u: (a, s, out, x) => ({ x0: mix(1 / (a + s), x, -s / (a + s), out), eps: mix(1 / (a + s), x, a / (a + s), out) }),
};

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
};

/**
 * Sample, step by step.
 * @param request {labels: one class or -1 for none an image, seed, steps, guidance, interval: the first and the last
 *   timestep at which guidance acts, sampler}
 * @param network async (x, t, y, n, steps) -> output, of n images in one Float32Array
 * @yields {index, t, x_t, x0}: steps + 1 of them; the last, t = -1, holds the images.
 */
export async function* sample(model, { labels, seed, steps, guidance, interval, sampler }, network) {
  const size = model.shape.reduce((a, b) => a * b);
  const count = labels.length;
  const classes = labels.map((label) => (label < 0 ? model.numClasses : label));
  const guided = guidance !== 1 && labels.some((label) => label >= 0);

  const [first, last] = interval;

  async function denoise(x, t) {
    const guides = guided && first <= t && t <= last;
    const twice = guides ? 2 : 1;
    const input = new Float32Array(twice * x.length);
    for (let part = 0; part < twice; part++) input.set(x, part * x.length);
    const none = guides ? Array(count).fill(model.numClasses) : [];
    let output = await network(input, t, [...classes, ...none], twice * count, steps);
    if (guides) output = mix(guidance, output.subarray(0, x.length), 1 - guidance, output.subarray(x.length));
    const [a, s] = scales(model, t);
    const prediction = TO_PREDICTION[model.predictionType](a, s, output, x);
    if (!model.clip) return prediction;
    return TO_PREDICTION.x0(a, s, prediction.x0.map((value) => Math.min(1, Math.max(-1, value))), x);
  }

  let x = new Float32Array(count * size);
  for (let i = 0; i < count; i++) x.set(imageNoise(seed, i, size), i * size);
  const timesteps = model.timesteps[steps - 1];
  const step = SAMPLERS[sampler]();
  for (const [index, t] of timesteps.entries()) {
    const prediction = await denoise(x, t);
    yield { index, t, x_t: x, x0: prediction.x0 };
    x = step(model, x, prediction, t, timesteps[index + 1] ?? -1);
  }
  yield { index: steps, t: -1, x_t: x, x0: x };
}
