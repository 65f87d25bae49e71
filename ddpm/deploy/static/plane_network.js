// A small network for points of the plane, forward and backward by hand: ddpm.plane.MLP, its parameters in the order of
// PyTorch's, one after the other in one array.

const FREQUENCIES = 8; // of t, as sine and cosine
const EMBEDDED = 16; // numbers that stand for a class
const NULL_LABEL = 2;
const KEEN = 6; // how much larger than PyTorch's the first weights of a place are: details are learned sooner

/**
 * C = A B, rows x inner times inner x columns, each given by the steps from one row and one column to the next; C is written
 * row by row. Blocks of 4 x 4 keep sixteen sums at hand, which is five times as fast as one.
 */
export function matmul(A, aRow, aColumn, B, bRow, bColumn, C, rows, inner, columns) {
  const [fullRows, fullColumns] = [rows - (rows % 4), columns - (columns % 4)];
  for (let i = 0; i < fullRows; i += 4) {
    for (let j = 0; j < fullColumns; j += 4) {
      let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
      let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
      let a = i * aRow;
      let b = j * bColumn;
      for (let k = 0; k < inner; k++) {
        const a0 = A[a], a1 = A[a + aRow], a2 = A[a + 2 * aRow], a3 = A[a + 3 * aRow];
        const b0 = B[b], b1 = B[b + bColumn], b2 = B[b + 2 * bColumn], b3 = B[b + 3 * bColumn];
        c00 += a0 * b0; c01 += a0 * b1; c02 += a0 * b2; c03 += a0 * b3;
        c10 += a1 * b0; c11 += a1 * b1; c12 += a1 * b2; c13 += a1 * b3;
        c20 += a2 * b0; c21 += a2 * b1; c22 += a2 * b2; c23 += a2 * b3;
        c30 += a3 * b0; c31 += a3 * b1; c32 += a3 * b2; c33 += a3 * b3;
        a += aColumn;
        b += bRow;
      }
      let c = i * columns + j;
      C[c] = c00; C[c + 1] = c01; C[c + 2] = c02; C[c + 3] = c03;
      c += columns;
      C[c] = c10; C[c + 1] = c11; C[c + 2] = c12; C[c + 3] = c13;
      c += columns;
      C[c] = c20; C[c + 1] = c21; C[c + 2] = c22; C[c + 3] = c23;
      c += columns;
      C[c] = c30; C[c + 1] = c31; C[c + 2] = c32; C[c + 3] = c33;
    }
  }
  for (let i = 0; i < rows; i++) { // what no block covers
    for (let j = i < fullRows ? fullColumns : 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += A[i * aRow + k * aColumn] * B[k * bRow + j * bColumn];
      C[i * columns + j] = sum;
    }
  }
}

export class Network {
  /**
   * @param shape {width, depth} of plane.json
   * @param timesteps of the schedule
   * @param parameters to begin with; else `uniform` and `normal` draw them
   */
  constructor({ width, depth }, timesteps, parameters, { uniform, normal } = {}) {
    this.input = 2 + 2 * FREQUENCIES + EMBEDDED;
    this.sizes = [this.input, ...Array(depth).fill(width), 2];
    this.times = this.#times(timesteps);
    const lengths = this.sizes.slice(1).map((out, k) => [out * this.sizes[k], out]).flat();
    const embedded = (NULL_LABEL + 1) * EMBEDDED;
    const total = lengths.reduce((a, b) => a + b, embedded);
    this.parameters = parameters ?? new Float32Array(total);
    this.gradient = new Float32Array(total);
    this.embedding = this.#parts(0, embedded);
    let at = embedded;
    this.layers = this.sizes.slice(1).map((out, k) => {
      const inner = this.sizes[k];
      const layer = { inner, out, weight: this.#parts(at, out * inner), bias: this.#parts(at + out * inner, out) };
      at += out * (inner + 1);
      return layer;
    });
    this.size = 0;
    if (!parameters) this.#initialise(uniform, normal);
  }

  /** A part of the parameters, and the same of their gradient. */
  #parts(from, length) {
    return { value: this.parameters.subarray(from, from + length), gradient: this.gradient.subarray(from, from + length) };
  }

  #times(timesteps) {
    const row = (t) => {
      const angles = Array.from({ length: FREQUENCIES }, (_, k) => Math.PI * 2 ** k * (t / timesteps));
      return Float32Array.from([...angles.map(Math.sin), ...angles.map(Math.cos)]);
    };
    return Array.from({ length: timesteps }, (_, t) => row(t));
  }

  #initialise(uniform, normal) {
    this.embedding.value.set(normal(this.embedding.value.length));
    for (const { inner, weight, bias } of this.layers) {
      for (const { value } of [weight, bias]) {
        for (let i = 0; i < value.length; i++) value[i] = (2 * uniform() - 1) / Math.sqrt(inner);
      }
    }
    const { weight } = this.layers[0];
    for (let row = 0; row < weight.value.length; row += this.input) {
      for (let column = 0; column < 2; column++) weight.value[row + column] *= KEEN;
    }
  }

  /** Room for the states of so many points. */
  #reserve(count) {
    if (count <= this.size) return;
    this.size = count;
    const room = () => this.sizes.map((size) => new Float32Array(count * size));
    // After and before a SiLU, z and z sigmoid(z); the sigmoid; the gradient of z.
    [this.states, this.before, this.gates, this.errors] = [room(), room(), room(), room()];
  }

  /** The output (count x 2) for points x, their timesteps and classes. It is overwritten by the next call. */
  forward(x, t, y, count) {
    this.#reserve(count);
    const { input, states } = this;
    for (let i = 0; i < count; i++) {
      const place = i * input;
      states[0][place] = x[2 * i];
      states[0][place + 1] = x[2 * i + 1];
      states[0].set(this.times[t[i]], place + 2);
      states[0].set(this.embedding.value.subarray(y[i] * EMBEDDED, (y[i] + 1) * EMBEDDED), place + input - EMBEDDED);
    }
    for (let k = 0; k < this.layers.length; k++) this.#layer(k, count);
    return this.before.at(-1).subarray(0, 2 * count);
  }

  #layer(k, count) {
    const { inner, out, weight, bias } = this.layers[k];
    const [before, gate, after] = [this.before, this.gates, this.states].map((each) => each[k + 1]);
    matmul(this.states[k], inner, 1, weight.value, 1, inner, before, count, inner, out);
    const bend = k < this.layers.length - 1;
    for (let i = 0, column = 0; i < count * out; i++, column = column + 1 < out ? column + 1 : 0) {
      before[i] += bias.value[column];
      if (!bend) continue;
      gate[i] = 1 / (1 + Math.exp(-before[i]));
      after[i] = before[i] * gate[i];
    }
  }

  /** Fills `gradient`, after a forward pass of the same points, from that of the output. */
  backward(ofOutput, y, count) {
    this.errors.at(-1).set(ofOutput);
    for (let k = this.layers.length - 1; k >= 0; k--) this.#layerBack(k, count);
    const { gradient } = this.embedding;
    const { inner, out, weight } = this.layers[0];
    const ofClass = weight.value.subarray(inner - EMBEDDED); // the columns that a class comes in by
    const passed = this.errors[0]; // of which only these columns are needed
    matmul(this.errors[1], out, 1, ofClass, inner, 1, passed, count, out, EMBEDDED);
    gradient.fill(0);
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < EMBEDDED; k++) gradient[y[i] * EMBEDDED + k] += passed[i * EMBEDDED + k];
    }
  }

  #layerBack(k, count) {
    const { inner, out, weight, bias } = this.layers[k];
    const [error, passed] = [this.errors[k + 1], this.errors[k]];
    matmul(error, 1, out, this.states[k], inner, 1, weight.gradient, out, count, inner);
    bias.gradient.fill(0);
    for (let i = 0; i < count; i++) {
      for (let column = 0; column < out; column++) bias.gradient[column] += error[i * out + column];
    }
    if (k === 0) return;
    matmul(error, out, 1, weight.value, inner, 1, passed, count, out, inner);
    const [before, gate] = [this.before[k], this.gates[k]];
    for (let i = 0; i < count * inner; i++) passed[i] *= gate[i] * (1 + before[i] * (1 - gate[i]));
  }

  /** As a network of sampling.js, which asks for one timestep at a time. */
  async evaluate(x, t, y, count) {
    return Float32Array.from(this.forward(x, new Int32Array(count).fill(t), y, count));
  }
}
