// The exact answer in the plane, as in ddpm/plane.py, which says where the formulas come from: E[x0 | x_t] of a mixture of
// round Gaussians of one deviation and one weight, and its density. Points are pairs in one array: x, y, x, y, ...

import { mix, scales } from "./sampling.js";

const FAR = 40; // a component whose logarithm is so much below the nearest's adds nothing to a number

export class Law {
  /** @param law {means, deviation, labels} of plane.json, or the part of it that is of one class */
  constructor({ means, deviation, labels }) {
    Object.assign(this, { means: Float64Array.from(means), deviation, labels, count: labels.length });
  }

  ofClass(label) {
    const chosen = this.labels.flatMap((one, k) => (one === label ? [k] : []));
    const means = chosen.flatMap((k) => [this.means[2 * k], this.means[2 * k + 1]]);
    return new Law({ means, deviation: this.deviation, labels: chosen.map(() => label) });
  }

  /** E[x0 | x_t] at every point, for the scales a and s of image and noise. */
  expected(x, a, s) {
    const { means, count, deviation } = this;
    const variance = a ** 2 * deviation ** 2 + s ** 2;
    const shrink = (a * deviation ** 2) / variance;
    const x0 = new Float32Array(x.length);
    const away = new Float64Array(count);
    for (let i = 0; i < x.length; i += 2) {
      let nearest = Infinity;
      for (let k = 0; k < count; k++) {
        away[k] = ((x[i] - a * means[2 * k]) ** 2 + (x[i + 1] - a * means[2 * k + 1]) ** 2) / (2 * variance);
        if (away[k] < nearest) nearest = away[k];
      }
      let [sum, first, second] = [0, 0, 0];
      for (let k = 0; k < count; k++) {
        if (away[k] - nearest > FAR) continue;
        const share = Math.exp(nearest - away[k]);
        sum += share;
        first += share * means[2 * k];
        second += share * means[2 * k + 1];
      }
      x0[i] = first / sum + shrink * (x[i] - (a * first) / sum);
      x0[i + 1] = second / sum + shrink * (x[i + 1] - (a * second) / sum);
    }
    return x0;
  }

  /** (x, t) -> {x0, eps}, for all of the law or one class of it (-1 is none), with classifier-free guidance. */
  denoiser(model, label, guidance) {
    const wanted = label < 0 ? this : this.ofClass(label);
    return (x, t) => {
      const [a, s] = scales(model, t);
      let x0 = wanted.expected(x, a, s);
      if (label >= 0 && guidance !== 1) x0 = mix(guidance, x0, 1 - guidance, this.expected(x, a, s));
      return { x0, eps: mix(1 / s, x, -a / s, x0) };
    };
  }

  /** How dense x_t is in cells x cells places over the square up to `extent`, rows from above, the densest 1. */
  density(model, t, cells, extent) {
    const [a, s] = scales(model, t);
    const variance = a ** 2 * this.deviation ** 2 + s ** 2;
    // A round Gaussian is the product of one along x and one along y.
    const along = (axis) =>
      Float64Array.from({ length: this.count * cells }, (_, i) => {
        const place = ((i % cells) + 0.5) * ((2 * extent) / cells) - extent;
        return Math.exp(-((place - a * this.means[2 * Math.floor(i / cells) + axis]) ** 2) / (2 * variance));
      });
    const [across, up] = [along(0), along(1)];
    const dense = new Float64Array(cells * cells);
    for (let k = 0; k < this.count; k++) {
      for (let row = 0; row < cells; row++) {
        const height = up[k * cells + cells - 1 - row];
        if (height < 1e-12) continue;
        for (let column = 0; column < cells; column++) dense[row * cells + column] += height * across[k * cells + column];
      }
    }
    const most = dense.reduce((first, second) => Math.max(first, second));
    return dense.map((value) => value / most);
  }

  /** The class of the component that is nearest to each point. */
  nearestLabels(x) {
    return Array.from({ length: x.length / 2 }, (_, i) => {
      let [best, label] = [Infinity, 0];
      for (let k = 0; k < this.count; k++) {
        const distance = (x[2 * i] - this.means[2 * k]) ** 2 + (x[2 * i + 1] - this.means[2 * k + 1]) ** 2;
        if (distance < best) [best, label] = [distance, this.labels[k]];
      }
      return label;
    });
  }
}

/**
 * The mean over directions of the Wasserstein-1 distance between two sets of points, each seen along the direction. Where
 * there are fewer of `second`, each stands for several.
 */
export function slicedWasserstein(first, second, directions = 64) {
  const seen = (points, angle) =>
    Float64Array.from({ length: points.length / 2 }, (_, i) => points[2 * i] * Math.cos(angle) + points[2 * i + 1] * Math.sin(angle)).sort();
  let sum = 0;
  for (let k = 0; k < directions; k++) {
    const angle = (k * Math.PI) / directions;
    const [ours, theirs] = [seen(first, angle), seen(second, angle)];
    const apart = ours.map((value, i) => Math.abs(value - theirs[Math.floor(((i + 0.5) * theirs.length) / ours.length)]));
    sum += apart.reduce((a, b) => a + b) / ours.length;
  }
  return sum / directions;
}
