// Training a network on points of the plane, as ddpm.plane.train does it: v-prediction, Adam, a rate that falls as a cosine.

import { mersenneTwister, randn } from "./noise.js";
import { Network } from "./plane_network.js";
import { scales } from "./sampling.js";

const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8]; // Kingma & Ba 2015, as in PyTorch

/** Random numbers of a seed: one uniform, so many normal ones, or a whole number below some limit. */
export function randomness(seed) {
  const next = mersenneTwister(seed);
  const uniform = () => next() / 2 ** 32;
  return {
    uniform,
    normal: (count) => randn(next, Math.max(16, count)).subarray(0, count),
    below: (limit) => Math.floor(uniform() * limit),
  };
}

/** The loss of a batch, the mean of squares as in ddpm/diffusion.py; its gradient is left in the network. */
export function lossOf(network, model, { x0, eps, t, y }) {
  const count = t.length;
  const x = new Float32Array(2 * count);
  const wanted = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) {
    const [a, s] = scales(model, t[i]);
    for (const k of [2 * i, 2 * i + 1]) {
      x[k] = a * x0[k] + s * eps[k];
      wanted[k] = a * eps[k] - s * x0[k];
    }
  }
  const output = network.forward(x, t, y, count);
  let loss = 0;
  const gradient = output.map((value, i) => {
    const off = value - wanted[i];
    loss += off ** 2 / (2 * count);
    return off / count;
  });
  network.backward(gradient, y, count);
  return loss;
}

function batchOf({ points, labels }, { batch: count, labelDropout }, timesteps, { uniform, normal, below }) {
  const batch = { x0: new Float32Array(2 * count), eps: normal(2 * count), t: new Int32Array(count), y: new Int32Array(count) };
  for (let i = 0; i < count; i++) {
    const one = below(labels.length);
    batch.x0[2 * i] = points[2 * one];
    batch.x0[2 * i + 1] = points[2 * one + 1];
    batch.t[i] = below(timesteps);
    batch.y[i] = uniform() < labelDropout ? 2 : labels[one];
  }
  return batch;
}

function adam({ parameters, gradient }) {
  const [first, second] = [new Float32Array(parameters.length), new Float32Array(parameters.length)];
  let step = 0;
  return (rate) => {
    step++;
    const [unbias1, unbias2] = [1 - BETA1 ** step, Math.sqrt(1 - BETA2 ** step)];
    for (let i = 0; i < parameters.length; i++) {
      first[i] = BETA1 * first[i] + (1 - BETA1) * gradient[i];
      second[i] = BETA2 * second[i] + (1 - BETA2) * gradient[i] ** 2;
      parameters[i] -= ((rate / unbias1) * first[i]) / (Math.sqrt(second[i]) / unbias2 + EPSILON);
    }
  };
}

/**
 * Train a fresh network.
 * @param data {points, labels} to learn from
 * @param plane network and learning of plane.json
 * @yields {network, loss} of every step
 */
export function* train(data, plane, model, steps, seed = 0) {
  const random = randomness(seed);
  const timesteps = model.alphasCumprod.length;
  const network = new Network(plane.network, timesteps, null, random);
  const update = adam(network);
  for (let step = 0; step < steps; step++) {
    const loss = lossOf(network, model, batchOf(data, plane.learning, timesteps, random));
    update((plane.learning.learningRate * (1 + Math.cos((Math.PI * step) / steps))) / 2);
    yield { network, loss };
  }
}
