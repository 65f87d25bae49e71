// Walks and trainings in the plane, in threads of their own: the page has one worker for each of the two.

import { train } from "./plane_training.js";
import { modelOf, walk } from "./plane_walks.js";

const EVERY = 300; // milliseconds between two reports of a training

function learn(plane, { data, count, schedule, steps }) {
  const { points, labels } = plane.data[data];
  const known = { points: points.slice(0, 2 * count), labels: labels.slice(0, count) };
  let told = performance.now();
  let losses = [];
  let step = 0;
  for (const { network, loss } of train(known, plane, modelOf(plane, schedule), steps)) {
    losses.push(loss);
    step++;
    if (step < steps && performance.now() - told < EVERY) continue;
    told = performance.now();
    postMessage({ step, losses, parameters: network.parameters.slice() });
    losses = [];
  }
}

let plane;

onmessage = async ({ data }) => {
  if (data.plane) plane = data.plane;
  else if (data.train) learn(plane, data.train);
  else postMessage({ ...data, parameters: null, view: await walk(plane, data.walk, data.parameters) });
};
