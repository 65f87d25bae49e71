// Walks that begin elsewhere than at pure noise, or keep a part of an image: as in ddpm/editing.py, which says where the
// formulas come from. A request has, besides what sampling.js takes: start, strength, and image or mask.

import { denoiserOf, mix, noises, sample, scales, startOf, timestepsOf } from "./sampling.js";

const REPEATS = 4; // of every step of a repair, where the sampler adds noise
const ROUNDS = 3; // evaluations of every step of an inversion

const many = (image, count) => Float32Array.from({ length: count * image.length }, (_, i) => image[i % image.length]);

/** The same request for one image of the first class, from pure noise; and for all images of that class. */
const ofOne = (request, seed) => ({ ...request, labels: request.labels.slice(0, 1), seed });
const alike = (request) => ({ ...request, labels: request.labels.map(() => request.labels[0]) });

async function last(steps) {
  let step;
  for await (step of steps);
  return step.x0;
}

/** Images noised to t. */
function noised(model, images, t, noise) {
  const [a, s] = scales(model, t);
  return mix(a, images, s, noise());
}

const STARTS = {
  noise: (model, request, network) => sample(model, request, network),

  /** SDEdit: the sketch is noised, and the noise taken away again. */
  async *sketch(model, request, network) {
    const { labels, seed, steps, strength, image } = request;
    const start = startOf(model, steps, strength);
    const images = many(image, labels.length);
    if (start < 0) yield { index: 0, of: 0, t: -1, x_t: images, x0: images };
    else if (strength === 1) yield* sample(model, request, network);
    else {
      const noise = noises(model, seed, labels.length);
      const begin = { x: noised(model, images, start, noise), timesteps: timestepsOf(model, steps, start), noise };
      yield* sample(model, request, network, begin);
    }
  },

  /** RePaint: an image of the seed's, painted over where the mask is 1, made anew there. */
  async *repair(model, request, network, tell) {
    const { labels, seed, mask } = request;
    const original = await last(sample(model, ofOne(request, seed), network));
    tell(original);
    const [images, made] = [many(original, labels.length), many(mask, labels.length)];
    const known = (theirs, x) => x.map((value, i) => (made[i] ? value : theirs[i]));
    const holding = (denoise) => async (x, t) => {
      const { x0, eps } = await denoise(x, t);
      const [a, s] = scales(model, t);
      return { x0: known(images, x0), eps: known(mix(1 / s, x, -a / s, images), eps) };
    };
    const again = { ...alike(request), seed: seed + 1, sampler: model.distilled ? request.sampler : "ddpm" };
    for await (const step of sample(model, again, network, { holding, repeats: model.distilled ? 1 : REPEATS })) {
      yield step.t < 0 ? { ...step, x_t: known(images, step.x_t), x0: known(images, step.x0) } : step;
    }
  },

  /** From an image of the seed to one of the next seed, mixed at a noise level: one noise, as many shares as images. */
  async *blend(model, request, network) {
    const { labels, seed, steps, strength } = request;
    const [first, second] = [
      await last(sample(model, ofOne(request, seed), network)),
      await last(sample(model, ofOne(request, seed + 1), network)),
    ];
    const count = labels.length;
    const images = new Float32Array(count * first.length);
    for (let i = 0; i < count; i++) {
      const share = count > 1 ? i / (count - 1) : 0.5;
      images.set(mix(1 - share, first, share, second), i * first.length);
    }
    const start = Math.max(0, startOf(model, steps, strength));
    const noise = noises(model, seed, 1);
    const x = noised(model, images, start, () => many(noise(), count));
    yield* sample(model, alike(request), network, { x, timesteps: timestepsOf(model, steps, start) });
  },

  /** One walk of DDPM up to a noise level; from there every image with noise of its own. */
  async *branch(model, request, network) {
    const { labels, seed, steps, strength } = request;
    const start = startOf(model, steps, strength);
    const walk = sample(model, { ...ofOne(request, seed), sampler: "ddpm" }, network);
    for await (const root of walk) {
      if (root.t > start) continue;
      const timesteps = timestepsOf(model, steps - root.index, root.t);
      const x = root.index ? many(root.x_t, labels.length) : undefined; // at T - 1 the state is the noise
      yield* sample(model, { ...alike(request), seed: seed + 1, sampler: "ddpm" }, network, { x, timesteps });
      return;
    }
  },

  /** The noise that DDIM makes the sketch of, and what else comes of it: every image under a class of its own. */
  async *invert(model, request, network) {
    const { labels, steps, image } = request;
    const plain = { ...request, labels: labels.map(() => -1), sampler: "ddim", guidance: 1, clip: false };
    const denoise = denoiserOf(model, { ...plain, labels: [-1] }, network);
    const rising = [-1, ...timestepsOf(model, steps).reverse()];
    let x = image;
    for (let k = 0; k + 1 < rising.length; k++) {
      const [a, s] = scales(model, rising[k]);
      const [aNext, sNext] = scales(model, rising[k + 1]);
      let guess = k ? x : mix(aNext, x, 0, x);
      let x0;
      let eps;
      for (let round = 0; round < ROUNDS; round++) {
        ({ eps } = await denoise(guess, rising[k + 1]));
        x0 = mix(1 / a, x, -s / a, eps);
        guess = mix(aNext, x0, sNext, eps);
      }
      x = guess;
    }
    yield* sample(model, { ...plain, labels }, network, { x: many(x, labels.length) });
  },
};

/** What a request asks for, step by step; `tell` hears the image that a repair begins with. */
export function draw(model, request, network, tell) {
  return STARTS[request.start](model, request, network, tell);
}
