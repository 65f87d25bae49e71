// The network, in a separate thread, so that the page responds while it computes.

import { draw as walk } from "./editing.js";

const ENGINES = {
  webgpu: { bundle: "./ort/ort.webgpu.bundle.min.mjs", wasm: "./ort/ort-wasm-simd-threaded.asyncify.wasm.gz" },
  wasm: { bundle: "./ort/ort.wasm.bundle.min.mjs", wasm: "./ort/ort-wasm-simd-threaded.wasm.gz" },
};

let page; // model.json
let ort; // the runtime
let provider; // its way of computing, webgpu or wasm
const networks = new Map(); // by the keys of the models that were asked for
let latest; // the request that counts: a newer one ends those before it

/** A file's bytes; `told` hears how many there are so far. */
async function download(url, told) {
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the server said ${answer.status}`);
    const parts = [];
    const reader = answer.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      told(part.value.length);
    }
    return new Blob(parts);
  } catch (error) {
    throw new Error(`${url.slice(2)} could not be loaded: ${error.message}`);
  }
}

/** The runtime is kept gzipped. A server may have unpacked it on the way: then it begins as WebAssembly does. */
async function unpacked(blob) {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (start[0] !== 0x1f || start[1] !== 0x8b) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Tells how much of so many files is here; the files are named as in model.json. */
function progress(names) {
  let done = 0;
  const total = names.reduce((sum, name) => sum + page.bytes[name], 0);
  return (bytes) => postMessage({ type: "loading", done: (done += bytes), total });
}

async function load(engine, key) {
  const { bundle, wasm } = ENGINES[engine];
  const told = progress([wasm.slice(2), modelOf(key).weights]);
  networks.clear();
  const [runtime, binary, weights] = await Promise.all([
    import(bundle),
    download(wasm, told).then(unpacked),
    download(`./${modelOf(key).weights}`, told),
  ]);
  [ort, provider] = [runtime, engine];
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  networks.set(key, Promise.resolve(await network(modelOf(key), weights)));
  const threads = ort.env.wasm.numThreads;
  return engine === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

const modelOf = (key) => page.models.find((one) => one.name === key);

/** A model's network, fetched when it is first asked for. */
function networkOf(key) {
  if (!networks.has(key)) {
    const { weights } = modelOf(key);
    networks.set(key, download(`./${weights}`, progress([weights])).then((blob) => network(modelOf(key), blob)));
  }
  return networks.get(key);
}

async function network(model, weights) {
  const session = await ort.InferenceSession.create(new Uint8Array(await weights.arrayBuffer()), {
    executionProviders: [provider],
    logSeverityLevel: 3, // errors; warnings tell which nodes run elsewhere
  });
  return async (x, t, y, n, steps) => {
    const longs = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [n]);
    const feeds = { x: new ort.Tensor("float32", x, [n, ...model.shape]), t: longs(Array(n).fill(t)) };
    if (model.numClasses) feeds.y = longs(y);
    if (model.distilled) feeds.n = longs(Array(n).fill(model.stepCounts.indexOf(steps)));
    return (await session.run(feeds)).output.data;
  };
}

/** The fastest engine that this browser has; where that fails, the next, and why. */
async function loadBest(wanted, key) {
  const adapter = wanted === "wasm" ? null : await navigator.gpu?.requestAdapter().catch(() => null);
  // A software adapter is 60 times as slow as WebAssembly.
  if (adapter && (wanted === "webgpu" || !adapter.info.isFallbackAdapter)) {
    try {
      return await load("webgpu", key);
    } catch (error) {
      return `${await load("wasm", key)}; WebGPU failed: ${error.message}`;
    }
  }
  return load("wasm", key);
}

/** A newer request counts. */
class Overtaken extends Error {}

async function draw({ id, model, request }) {
  latest = id;
  const run = await networkOf(model);
  if (latest !== id) return;
  const start = performance.now();
  let pace = Infinity; // seconds of an evaluation of one image, without the first call's warming up
  const network = async (...input) => {
    await new Promise((resolve) => setTimeout(resolve)); // lets a newer request arrive
    if (latest !== id) throw new Overtaken();
    const called = performance.now();
    const output = await run(...input);
    pace = Math.min(pace, (performance.now() - called) / 1000 / input[3]);
    return output;
  };
  const tell = (original) => postMessage({ type: "original", id, original });
  try {
    for await (const step of walk(modelOf(model), request, network, tell)) {
      postMessage({ type: "step", id, ...step, pace, seconds: (performance.now() - start) / 1000 });
    }
  } catch (error) {
    if (!(error instanceof Overtaken)) throw error;
  }
}

onmessage = async ({ data }) => {
  try {
    if (data.type === "load") {
      page = data.page;
      postMessage({ type: "ready", engine: await loadBest(data.engine, data.model) });
    } else if (data.type === "stop") {
      latest = null;
    } else {
      await draw(data);
    }
  } catch (error) {
    postMessage({ type: "failed", message: error.message ?? String(error) });
  }
};
