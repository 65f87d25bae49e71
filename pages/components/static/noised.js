// While a hand drags t on the Schedules page, the pictures follow without asking the server: x_t = a x0 + s eps is mixed
// here. When the hand lets go, the page comes with the same pictures.

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

export default function ({ data }) {
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

  function show(share) {
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
  return () => watch.disconnect();
}
