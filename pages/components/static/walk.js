const PAUSE = 60; // milliseconds of a frame

export default function ({ data, parentElement }) {
  const find = (selector) => parentElement.querySelector(selector);
  const [root, canvas, slider, play] = [".walk", "canvas", ".slider", ".play"].map(find);
  const last = data.frames.length - 1;
  // Decoded once and kept, so that no frame flickers.
  const images = data.frames.map((src) => Object.assign(new Image(), { src }));

  const show = (index) => {
    const image = images[index];
    slider.value = index;
    const share = Math.round((100 * index) / last) + " %";
    slider.setAttribute("aria-valuetext", share);
    canvas.setAttribute("aria-label", `${share} of the way from ${data.ends[0]} to ${data.ends[1]}`);
    const draw = () => {
      if (Number(slider.value) !== index) return;
      if (canvas.width !== image.naturalWidth) [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      canvas.getContext("2d").drawImage(image, 0, 0);
    };
    if (image.complete) draw();
    else image.onload = draw;
  };
  const stop = () => { clearInterval(root.timer); root.timer = null; play.textContent = "Play"; };
  const start = () => {
    let by = 1;
    play.textContent = "Pause";
    root.timer = setInterval(() => {
      const at = Number(slider.value);
      if (at + by < 0 || at + by > last) by = -by; // there and back
      show(at + by);
    }, PAUSE);
  };

  slider.max = last;
  slider.oninput = () => { stop(); show(Number(slider.value)); };
  play.onclick = () => (root.timer ? stop() : start());
  find(".from").textContent = data.ends[0];
  find(".to").textContent = data.ends[1];
  if (root.dataset.shown !== data.id) {
    root.dataset.shown = data.id;
    stop();
    slider.value = 0;
  }
  show(Number(slider.value));
  return () => clearInterval(root.timer);
}
