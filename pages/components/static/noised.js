// While a hand drags t on the Schedules page, by its slider or by a mark on a curve, the pictures and the marks follow
// without asking the server: x_t = a x0 + s eps is mixed here. When the hand lets go, the page comes with the same.

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

const GRIP = 12; // pixels around a mark where it can be taken

export default function ({ data, setTriggerValue }) {
  const [channels, height, width] = data.shape;
  const x0 = Float32Array.from(bytes(data.x0), (value) => value / 127.5 - 1);
  const eps = floats(data.eps);
  const schedules = data.schedules.map((alphaBars) => floats(alphaBars));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const pixels = new ImageData(width, height);

  function mix(alphaBar) {
    const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
    let error = 0;
    for (let place = 0; place < width * height; place++) {
      for (let channel = 0; channel < 3; channel++) {
        const k = Math.min(channel, channels - 1) * width * height + place;
        const value = Math.min(1, Math.max(-1, a * x0[k] + s * eps[k]));
        pixels.data[4 * place + channel] = Math.round((value + 1) * 127.5);
        if (channel < channels) error += ((value - x0[k]) / 2) ** 2;
      }
      pixels.data[4 * place + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    return -10 * Math.log10(error / x0.length);
  }

  const places = { t: (t) => t, share: (t, T) => t / T, log_snr: (t, T, ab) => Math.log(ab / (1 - ab)) };

  /** The height of a curve at x, straight between its points, which lie in order. */
  function heightOf(curve, x) {
    const after = curve.x.findIndex((value) => (data.over === "log_snr" ? value <= x : value >= x));
    if (after < 0) return curve.y[curve.y.length - 1];
    if (after === 0 || Number.isNaN(curve.x[after - 1])) return curve.y[after];
    const [left, right] = [curve.x[after - 1], curve.x[after]];
    return curve.y[after - 1] + ((x - left) / (right - left)) * (curve.y[after] - curve.y[after - 1]);
  }

  /** The marks on the curves: each belongs to the curve drawn as many traces before it as its schedule has. */
  function* marks() {
    const plot = document.querySelector(".st-key-sched_plot .js-plotly-plot");
    const curves = [];
    let schedule = -1;
    for (const trace of plot?._fullData ?? []) {
      if (trace.mode === "lines") {
        if (!curves.length) schedule = (schedule + 1) % schedules.length;
        curves.push(trace);
        continue;
      }
      const point = plot.querySelector(`.trace${trace.uid} .points path`);
      const [x, y] = [plot._fullLayout.xaxis, plot._fullLayout[trace.yaxis.replace("y", "yaxis")]];
      const curve = curves.shift();
      if (point && schedules[schedule]) yield { point, x, y, curve, alphaBars: schedules[schedule] };
    }
  }

  function move(share) {
    for (const { point, x, y, curve, alphaBars } of marks()) {
      const T = alphaBars.length;
      const t = Math.min(Math.round(share * T), T - 1);
      const place = places[data.over](t, T, alphaBars[t]);
      const [left, top] = [x.d2p(place), y.d2p(heightOf(curve, place))];
      if (Number.isFinite(left) && Number.isFinite(top)) point.setAttribute("transform", `translate(${left},${top})`);
    }
  }

  /** The share of T at a place on the screen, for a mark. */
  function shareAt(event, { point, x, alphaBars }) {
    const frame = point.ownerSVGElement.getBoundingClientRect();
    const value = x.p2d(Math.min(Math.max(event.clientX - frame.left - x._offset, 0), x._length));
    const T = alphaBars.length;
    if (data.over === "share") return value;
    if (data.over === "t") return value / T;
    const after = alphaBars.findIndex((alphaBar) => Math.log(alphaBar / (1 - alphaBar)) <= value);
    return (after < 0 ? T - 1 : after) / T;
  }

  function markNear(event) {
    for (const mark of marks()) {
      const box = mark.point.getBoundingClientRect();
      const far = Math.hypot(event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
      if (far < GRIP) return mark;
    }
    return null;
  }

  let taken = null;
  const plotOf = (event) => event.target.closest?.(".st-key-sched_plot");
  const hundredths = (share) => Math.round(100 * Math.min(1, Math.max(0, share))) / 100; // as the slider has them
  const take = (event) => {
    taken = plotOf(event) ? markNear(event) : null;
    if (!taken) return;
    event.stopPropagation(); // else the chart would zoom
    event.preventDefault();
  };
  const drag = (event) => {
    if (taken) requestAnimationFrame(() => taken && show(hundredths(shareAt(event, taken))));
    else plotOf(event)?.classList.toggle("grip", markNear(event) !== null);
  };
  const release = (event) => {
    if (!taken) return;
    setTriggerValue("share", hundredths(shareAt(event, taken)));
    taken = null;
  };
  const keepStill = (event) => { if (taken) event.stopPropagation(); }; // the chart listens to the mouse as well
  const listeners = { pointerdown: take, pointermove: drag, pointerup: release, mousedown: keepStill, touchstart: keepStill };
  for (const [name, listen] of Object.entries(listeners)) document.addEventListener(name, listen, { capture: true });

  function show(share) {
    move(share);
    const figures = [...document.querySelectorAll(".noised .large figure")].slice(1); // the first is the image itself
    if (figures.length !== schedules.length) return; // of another run of the page, which is on its way
    for (const [k, alphaBars] of schedules.entries()) {
      const t = Math.min(Math.round(share * alphaBars.length), alphaBars.length - 1);
      const decibels = mix(alphaBars[t]);
      const [image, facts] = [figures[k].querySelector("img"), figures[k].querySelector(".quiet")];
      image.src = canvas.toDataURL();
      image.alt = image.alt.replace(/ at t = \d+$/, ` at t = ${t}`);
      const snr = (alphaBars[t] / (1 - alphaBars[t])).toPrecision(3);
      facts.innerText = `t = ${t} · ᾱ = ${alphaBars[t].toPrecision(4)}\nSNR = ${snr}\nPSNR = ${decibels.toFixed(1)} dB`;
    }
  }

  const slider = document.querySelector(".st-key-sched_t");
  let shown = null; // the value at which the page came
  const follow = () => {
    const thumb = slider.querySelector("[role=slider], input[type=range]");
    const share = Number(thumb?.getAttribute("aria-valuetext") ?? thumb?.getAttribute("aria-valuenow"));
    if (shown !== null && share !== shown && Number.isFinite(share)) requestAnimationFrame(() => show(share));
    shown = share;
  };
  follow();
  const watch = new MutationObserver(follow);
  watch.observe(slider, { subtree: true, attributes: true, attributeFilter: ["aria-valuetext", "aria-valuenow"] });
  return () => {
    watch.disconnect();
    for (const [name, listen] of Object.entries(listeners)) document.removeEventListener(name, listen, { capture: true });
  };
}
