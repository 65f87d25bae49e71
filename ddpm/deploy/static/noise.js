// The noise of the library, number for number: PyTorch's CPU generator. Image k of a seed has its own Mersenne Twister
// (MT19937), seeded with BLAKE2b of "seed/k" (ddpm/randomness.py); normal numbers are Box-Muller's, sixteen at
// a time, as torch.randn draws them. Integers are the same to the bit, normal numbers to the last digits of a float.

const MASK = (1n << 64n) - 1n;
const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const COLUMNS_AND_DIAGONALS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

/** The first 64 bits of BLAKE2b with an output of 8 bytes (RFC 7693), of at most 128 ASCII characters. */
function blake2b64(text) {
  const block = new DataView(new ArrayBuffer(128));
  [...text].forEach((character, i) => block.setUint8(i, character.charCodeAt(0)));
  const words = SIGMA[0].map((i) => block.getBigUint64(8 * i, true));
  const first = IV[0] ^ 0x01010008n;
  const v = [first, ...IV.slice(1), ...IV];
  v[12] ^= BigInt(text.length);
  v[14] ^= MASK;
  const turn = (value, bits) => ((value >> bits) | (value << (64n - bits))) & MASK;
  for (let round = 0; round < 12; round++) {
    const order = SIGMA[round % 10];
    COLUMNS_AND_DIAGONALS.forEach(([a, b, c, d], i) => {
      for (const [word, right, left] of [[order[2 * i], 32n, 24n], [order[2 * i + 1], 16n, 63n]]) {
        v[a] = (v[a] + v[b] + words[word]) & MASK;
        v[d] = turn(v[d] ^ v[a], right);
        v[c] = (v[c] + v[d]) & MASK;
        v[b] = turn(v[b] ^ v[c], left);
      }
    });
  }
  return first ^ v[0] ^ v[8];
}

/** Uniform 32-bit integers, one a call (Matsumoto & Nishimura 1998). */
export function mersenneTwister(seed) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let at = 624;

  function refill() {
    for (let i = 0; i < 624; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
      state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    at = 0;
  }

  return () => {
    if (at === 624) refill();
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

/** `count` >= 16 standard normal numbers, as torch.randn fills a float32 tensor on the CPU. */
export function randn(next, count) {
  const values = new Float32Array(count);
  const uniform = () => (next() & 0xffffff) / 0x1000000;
  const pairUp = (start) => {
    for (let i = start; i < start + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
      const angle = 2 * Math.PI * values[i + 8];
      values[i] = radius * Math.cos(angle);
      values[i + 8] = radius * Math.sin(angle);
    }
  };
  for (let i = 0; i < count; i++) values[i] = uniform();
  for (let start = 0; start + 16 <= count; start += 16) pairUp(start);
  if (count % 16) {
    for (let i = count - 16; i < count; i++) values[i] = uniform();
    pairUp(count - 16);
  }
  return values;
}

/** The noise of image `index` of a seed: a function of how much of it is wanted next. */
export function noiseOf(seed, index) {
  const next = mersenneTwister(Number((blake2b64(`${seed}/${index}`) >> 1n) & 0xffffffffn)); // torch keeps the low 32 bits
  return (count) => randn(next, count);
}
