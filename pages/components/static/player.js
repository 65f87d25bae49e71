const KINDS = ["x_t", "x0", "eps"];
const CLASSES = 10; // that the classifier knows
const colourOf = (digit) => `hsl(${36 * digit} 60% ${digit % 2 ? 45 : 60}%)`;
const NAMES = { x_t: "x_t", x0: "predicted x0" };
// What a third picture shows, of x0 and the noise at scales a and s: as OUTPUTS in ddpm/diffusion.py, the score times s.
const OUTPUTS = {
  eps: (a, s, x0, eps) => eps,
  v: (a, s, x0, eps) => a * eps - s * x0,
  u: (a, s, x0, eps) => eps - x0,
  score: (a, s, x0, eps) => -eps,
};

export default function ({ data, parentElement, setTriggerValue }) {
  const find = (name) => parentElement.querySelector("." + name);
  const [slider, play, back, forth, speed, loop, which, roll, third] =
    ["slider", "play", "back", "forth", "speed", "loop", "which", "roll", "third"].map(find);
  const [caption, verdict, chart, belief, line, now, what, shares, legend, number] =
    ["caption", "verdict", "chart", "belief", "line", "now", "what", "shares", "legend", "number"].map(find);
  // This function runs again with every rerun of the page; what must outlive one call is stored on the element.
  const root = find("player");
  const last = data.frames.length - 1;
  const { size: [width, height], columns, count, gap } = data;

  // Decoded once and kept, so that no frame flickers.
  const decode = (uri) => { const image = new Image(); image.src = "data:image/png;base64," + uri; return image; };
  const images = data.frames.map((frame) => Object.fromEntries(KINDS.map((kind) => [kind, decode(frame[kind])])));

  const chosen = () => (which.value === "" ? null : Number(which.value));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const percent = (value) => Math.round(100 * value) + " %";

  const draw = (canvas, image) => {
    const k = chosen();
    const box = k === null
      ? [0, 0, image.naturalWidth, image.naturalHeight]
      : [gap + (k % columns) * (width + gap), gap + Math.floor(k / columns) * (height + gap), width, height];
    if (canvas.width !== box[2] || canvas.height !== box[3]) [canvas.width, canvas.height] = box.slice(2);
    const context = canvas.getContext("2d", { willReadFrequently: canvas === find("eps") });
    context.drawImage(image, ...box, 0, 0, box[2], box[3]);
    return context;
  };

  /** The noise, or what else is to be seen in its place, mixed of it and the guess; black stays between the images. */
  const drawThird = (canvas, index) => {
    const [a, s] = data.frames[index].scales, output = OUTPUTS[third.value];
    const x0 = draw(canvas, images[index].x0).getImageData(0, 0, canvas.width, canvas.height).data;
    const context = draw(canvas, images[index].eps);
    const mixed = context.getImageData(0, 0, canvas.width, canvas.height);
    const value = (byte) => byte / 127.5 - 1;
    for (let i = 0; i < mixed.data.length; i++) {
      if (i % 4 === 3 || !(mixed.data[i] || x0[i])) continue;
      mixed.data[i] = (output(a, s, value(x0[i]), data.eps_range * value(mixed.data[i])) + 1) * 127.5; // clamped
    }
    context.putImageData(mixed, 0, 0);
  };

  const say = (index) => {
    const k = chosen(), frame = data.frames[index];
    const change = k === null ? mean(frame.change) : frame.change[k];
    caption.textContent = frame.caption + (index < last ? " · step changes x by " + change.toPrecision(2) : "");
    if (!data.digits) return;
    if (k === null) {
      const settled = data.digits.filter((digit) => digit.settled <= index).length;
      verdict.textContent = "The digit is decided in " + settled + " of " + count + " images: from this "
        + "step on, the classifier's reading no longer changes.";
    } else {
      const digit = data.digits[k], at = data.frames[digit.settled].caption.split(" ·")[0];
      verdict.textContent = "The classifier reads the guess as " + digit.read[index] + " (" + percent(digit.sure[index])
        + "). It is decided " + (digit.settled === 0 ? "from the start" : "at " + at) + ": a " + digit.read[last] + ".";
    }
  };

  const curve = () => {
    const k = chosen();
    for (const part of [chart, verdict]) part.toggleAttribute("hidden", !data.digits);
    legend.toggleAttribute("hidden", !data.digits || k === null);
    shares.replaceChildren();
    line.setAttribute("points", "");
    if (!data.digits) return;
    what.textContent = k === null
      ? "probability of the final digit, as the classifier reads the guess"
      : "what the classifier reads in the guess: the probabilities of all digits";
    belief.setAttribute("viewBox", "0 0 " + last + " 1");
    belief.setAttribute("aria-label", what.textContent + ", over the frames");
    belief.classList.toggle("whole", k !== null);
    if (k !== null) return stack(Uint8Array.from(atob(data.digits[k].all), (byte) => byte.charCodeAt(0)));
    const at = (index) => mean(data.digits.map((digit) => digit.final[index]));
    line.setAttribute("points", data.frames.map((_, index) => index + "," + (1 - at(index))).join(" "));
  };

  /** The probabilities of all digits, one on top of the other; in the legend those that ever reach a tenth. */
  const stack = (values) => {
    const below = new Float32Array(last + 1);
    const drawn = [];
    for (let digit = 0; digit < CLASSES; digit++) {
      const part = below.map((_, index) => values[index * CLASSES + digit] / 255);
      const edge = (index) => index + "," + (1 - below[index]);
      const floor = data.frames.map((_, index) => edge(index)).reverse();
      part.forEach((value, index) => (below[index] += value));
      const area = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
      area.setAttribute("points", [...data.frames.map((_, index) => edge(index)), ...floor].join(" "));
      area.style.fill = colourOf(digit);
      shares.append(area);
      if (Math.max(...part) >= 0.1) drawn.push(digit);
    }
    legend.replaceChildren(...drawn.map((digit) => {
      const name = Object.assign(document.createElement("span"), { textContent: digit });
      name.style.setProperty("--colour", colourOf(digit));
      return name;
    }));
  };

  const show = (index) => {
    slider.value = index;
    for (const kind of KINDS) {
      const canvas = find(kind), image = images[index][kind];
      const needed = kind === "eps" ? [image, images[index].x0] : [image];
      const paint = () => (kind === "eps" ? drawThird(canvas, index) : draw(canvas, image));
      if (needed.every((one) => one.complete)) paint();
      else Promise.all(needed.map((one) => one.decode())).then(() => { if (Number(slider.value) === index) paint(); });
      const name = kind === "eps" ? "predicted " + third.selectedOptions[0].textContent.split(" = ")[0] : NAMES[kind];
      canvas.setAttribute("aria-label", name + ", " + data.frames[index].caption);
    }
    for (const [name, value] of Object.entries({ x1: index, x2: index, y1: 0, y2: 1 })) now.setAttribute(name, value);
    number.textContent = index;
    number.style.setProperty("--at", last ? index / last : 0);
    slider.setAttribute("aria-valuetext", data.frames[index].caption);
    say(index);
  };
  const choose = (k) => {
    which.value = k === null ? "" : String(k);
    roll.toggleAttribute("hidden", k === null);
    curve();
    show(Number(slider.value));
  };
  const stop = () => { clearTimeout(root.timer); root.timer = null; play.textContent = "Play"; };
  const tick = () => {
    const index = Number(slider.value);
    if (index < last) show(index + 1);
    else if (loop.checked) show(0);
    else return stop();
    // The result stays for a moment before it all begins again.
    root.timer = setTimeout(tick, Number(slider.value) === last ? 1500 : 1000 / Number(speed.value));
  };
  const step = (by) => { stop(); show(Math.min(last, Math.max(0, Number(slider.value) + by))); };

  slider.max = last;
  slider.oninput = () => { stop(); show(Number(slider.value)); };
  back.onclick = () => step(-1);
  forth.onclick = () => step(1);
  play.onclick = () => {
    if (root.timer) return stop();
    play.textContent = "Pause";
    if (Number(slider.value) === last) show(0);
    root.timer = setTimeout(tick, 1000 / Number(speed.value));
  };
  root.onkeydown = (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(event.key === "ArrowLeft" ? -1 : 1);
    else if (event.key === "Home" || event.key === "End") step(event.key === "Home" ? -last : last);
    else return;
    event.preventDefault();
  };
  which.onchange = () => choose(chosen());
  third.onchange = () => show(Number(slider.value));
  roll.onclick = () => setTriggerValue("roll", chosen());
  /** Which image of the whole grid a click on a picture of it met, null for none. */
  const met = (event, picture) => {
    const scale = (columns * (width + gap) + gap) / picture.clientWidth;
    const column = Math.floor((event.offsetX * scale) / (width + gap));
    const k = Math.floor((event.offsetY * scale) / (height + gap)) * columns + column;
    return column < columns && k < count ? k : null;
  };
  for (const kind of KINDS) {
    const canvas = find(kind);
    canvas.onclick = (event) => choose(chosen() === null ? met(event, canvas) : null);
  }
  // A click on the page's large picture shows that image here. The page may put another picture in its place at any
  // time, so the document listens.
  document.removeEventListener("click", root.onLarge);
  root.onLarge = (event) => {
    if (event.target.alt !== `${count} generated images`) return;
    choose(met(event, event.target));
    root.scrollIntoView({ behavior: "smooth", block: "nearest" });
  };
  document.addEventListener("click", root.onLarge);

  const before = which.value;
  which.replaceChildren(new Option("all images", ""), ...Array.from({ length: count }, (_, k) => new Option(
    data.names.length ? k + 1 + ": " + data.names[k] : k + 1, k)));
  which.value = Number(before) < count ? before : "";
  if (root.dataset.shown !== data.id) {
    // Not at the result, where both pictures are the same: here the guess is ahead of the state.
    if (!root.dataset.shown || Number(slider.value) > last) slider.value = Math.round(0.6 * last);
    root.dataset.shown = data.id;
    stop();
  } else if (root.timer) {
    clearTimeout(root.timer);
    root.timer = setTimeout(tick, 1000 / Number(speed.value));
  }
  choose(chosen());
  return () => {
    clearTimeout(root.timer);
    document.removeEventListener("click", root.onLarge);
  };
}
