// A square to draw on, with a mouse, a finger, a pen or the keyboard. What is drawn are strokes: each a width and points,
// in thousandths of the side, as text "60:120,400;130,410|...". The server makes pixels of them.

const SIDE = 640; // of the canvas in its own pixels
const NEAR = 8; // thousandths: closer points add nothing to a line
const STEP = 25; // thousandths that an arrow key moves the pen
const PAUSE = 250; // milliseconds between two messages while a stroke is drawn
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const parse = (text) => text.split("|").filter(Boolean).map((stroke) => {
  const [width, points] = stroke.split(":");
  return { width: Number(width), points: points.split(";").map((point) => point.split(",").map(Number)) };
});
const write = (strokes) => strokes.map(({ width, points }) => `${width}:${points.map((p) => p.join(",")).join(";")}`).join("|");

export default function ({ data, parentElement, setStateValue }) {
  const find = (selector) => parentElement.querySelector(selector);
  const [root, canvas, undo, clear, pen, said] = [".drawing", "canvas", ".undo", ".clear", ".pen", ".said"].map(find);
  const context = canvas.getContext("2d");
  // This function runs again with every rerun of the page; what must outlive one call is stored on the element.
  if (root.shown !== data.id) {
    Object.assign(root, { shown: data.id, strokes: parse(data.strokes), at: [500, 500], down: false, sent: data.strokes });
    pen.value = data.pen;
  }
  const picture = root.picture ?? (root.picture = new Image());
  if (data.image && picture.src !== data.image) {
    picture.onload = paint;
    picture.src = data.image;
  }

  function paint() {
    [canvas.width, canvas.height] = [SIDE, SIDE];
    context.fillStyle = data.paper;
    context.fillRect(0, 0, SIDE, SIDE);
    context.imageSmoothingEnabled = false;
    if (data.image && picture.complete) context.drawImage(picture, 0, 0, SIDE, SIDE);
    const layer = root.layer ?? (root.layer = new OffscreenCanvas(SIDE, SIDE));
    const ink = layer.getContext("2d");
    ink.clearRect(0, 0, SIDE, SIDE);
    Object.assign(ink, { strokeStyle: data.ink, fillStyle: data.ink, lineCap: "round", lineJoin: "round" });
    for (const { width, points } of root.strokes) {
      ink.lineWidth = (width * SIDE) / 1000;
      ink.beginPath();
      points.forEach(([x, y], k) => ink[k ? "lineTo" : "moveTo"]((x * SIDE) / 1000, (y * SIDE) / 1000));
      if (points.length === 1) ink.lineTo((points[0][0] * SIDE) / 1000 + 0.01, (points[0][1] * SIDE) / 1000);
      ink.stroke();
    }
    context.globalAlpha = data.opacity; // of all strokes together, where they cross as well
    context.drawImage(layer, 0, 0);
    context.globalAlpha = 1;
    if (root.byKey) cursor();
    undo.disabled = clear.disabled = root.strokes.length === 0;
    const count = root.strokes.length;
    canvas.setAttribute("aria-label", `${data.label}: ${count} stroke${count === 1 ? "" : "s"}. `
      + "Arrow keys move the pen, Space puts it down and lifts it, Control Z undoes, Delete clears.");
  }

  function cursor() {
    const [x, y] = root.at.map((value) => (value * SIDE) / 1000);
    context.lineWidth = 2;
    for (const [colour, radius] of [["white", 10], ["black", 12]]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function send() {
    clearTimeout(root.waiting);
    root.waiting = null;
    const text = write(root.strokes);
    if (text !== root.sent) setStateValue("strokes", (root.sent = text));
  }
  const sendSoon = () => { if (!root.waiting && data.live) root.waiting = setTimeout(send, PAUSE); };

  function begin(point) {
    root.strokes.push({ width: 10 * Number(pen.value), points: [point] });
    root.down = true;
    paint();
  }
  function goTo(point) {
    const { points } = root.strokes[root.strokes.length - 1];
    const [x, y] = points[points.length - 1];
    if (Math.hypot(point[0] - x, point[1] - y) < NEAR) return;
    points.push(point);
    paint();
    sendSoon();
  }
  function end() {
    if (!root.down) return;
    root.down = false;
    send();
  }

  const within = (value) => Math.min(1000, Math.max(0, Math.round(value)));
  const pointOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [within((1000 * (event.clientX - box.left)) / box.width), within((1000 * (event.clientY - box.top)) / box.height)];
  };
  canvas.onpointerdown = (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    root.byKey = false;
    begin(pointOf(event));
  };
  canvas.onpointermove = (event) => {
    if (!root.down || root.byKey) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) goTo(pointOf(each));
  };
  canvas.onpointerup = canvas.onpointercancel = end;

  const undoOne = () => { root.strokes.pop(); root.down = false; paint(); send(); };
  const clearAll = () => { root.strokes = []; root.down = false; paint(); send(); };
  undo.onclick = undoOne;
  clear.onclick = clearAll;
  canvas.onkeydown = (event) => {
    if (event.key in ARROWS) {
      root.byKey = true;
      root.at = root.at.map((value, k) => within(value + STEP * ARROWS[event.key][k]));
      if (root.down) goTo(root.at);
      paint();
    } else if (event.key === " ") {
      root.byKey = true;
      if (root.down) end();
      else begin(root.at);
      said.textContent = root.down ? "Pen down" : "Pen up";
    } else if ((event.ctrlKey || event.metaKey) && event.key === "z") undoOne();
    else if (event.key === "Delete" || event.key === "Backspace") clearAll();
    else return;
    event.preventDefault();
  };
  canvas.onblur = () => { end(); if (root.byKey) { root.byKey = false; paint(); } };
  paint();
  return () => clearTimeout(root.waiting);
}
