// The canvas of the page: the app's own (canvas.js), and what becomes of its strokes, as in ddpm/media/strokes.py.

import canvas from "./canvas.js";

const UNIT = 1000; // of the side, in which strokes count
const FINER = 8; // pixels that one pixel is averaged of, along each side
const LOOKS = {
  repair: { ink: "#E17702", opacity: 0.75, pen: 20, label: "What to paint over" },
  other: { ink: "white", opacity: 1, pen: 9, label: "Sketch" },
};

export class Drawing {
  /** @param changed hears the strokes as text, and whether the pen has been lifted */
  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    this.image = null;
    this.ready = fetch("canvas.html").then((answer) => answer.text()).then((html) => (element.innerHTML = html));
  }

  /** Show strokes, for a start that takes some. */
  async show(start, strokes) {
    await this.ready;
    const root = this.element.querySelector(".drawing");
    this.start = start;
    if (root.sent !== strokes) this.version = (this.version ?? 0) + 1; // what comes from elsewhere replaces what is there
    const image = start === "repair" ? this.image : null;
    const data = { id: `${start} ${this.version}`, strokes, image, paper: "black", live: true, ...(LOOKS[start] ?? LOOKS.other) };
    const setStateValue = (_, text) => this.changed(text, !root.down);
    canvas({ data, parentElement: this.element, setStateValue });
  }

  /** Show an image in [-1, 1] below the strokes. */
  async below(values, [channels, height, width]) {
    await this.ready;
    const made = Object.assign(document.createElement("canvas"), { width, height });
    const picture = new ImageData(width, height);
    for (let pixel = 0; pixel < height * width; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        picture.data[4 * pixel + channel] = (values[Math.min(channel, channels - 1) * height * width + pixel] + 1) * 127.5;
      }
      picture.data[4 * pixel + 3] = 255;
    }
    made.getContext("2d").putImageData(picture, 0, 0);
    this.image = made.toDataURL();
    if (this.start === "repair") this.show(this.start, this.element.querySelector(".drawing").sent);
  }
}

/** Strokes as an image (C, H, W) in [-1, 1], white on black; or as a mask, 1 where they cover half of a pixel or more. */
export function pixelsOf(strokes, [channels, height, width], asMask) {
  const [wide, high] = [width * FINER, height * FINER];
  const context = new OffscreenCanvas(wide, high).getContext("2d", { willReadFrequently: true });
  Object.assign(context, { strokeStyle: "white", lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes.split("|").filter(Boolean)) {
    const [thick, points] = stroke.split(":");
    context.lineWidth = Math.max(1, (Number(thick) * wide) / UNIT);
    context.beginPath();
    points.split(";").forEach((point, k) => {
      const [x, y] = point.split(",").map((value) => Math.min(Number(value), UNIT) / UNIT);
      context[k ? "lineTo" : "moveTo"](x * wide, y * high);
      if (!k) context.lineTo(x * wide + 0.01, y * high); // a dot
    });
    context.stroke();
  }
  const { data } = context.getImageData(0, 0, wide, high);
  const covered = new Float32Array(height * width);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      covered[Math.floor(y / FINER) * width + Math.floor(x / FINER)] += data[4 * (y * wide + x) + 3] / 255 / FINER ** 2;
    }
  }
  const values = Float32Array.from({ length: channels * height * width }, (_, i) => covered[i % (height * width)]);
  return asMask ? values.map((share) => (share >= 0.5 ? 1 : 0)) : values.map((share) => 2 * share - 1);
}
