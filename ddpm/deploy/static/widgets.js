// What the pages share: their choices, what they say of themselves, and the files that they cannot do without.

export const $ = (id) => document.getElementById(id);
export const main = document.querySelector("main");

/** Choices beside each other, one of which holds. */
export function chips(id, name, values, label = String) {
  const made = values.map((value) => {
    const chip = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
    chip.append(input, Object.assign(document.createElement("span"), { textContent: label(value) }));
    return chip;
  });
  $(id).querySelector(".chips").replaceChildren(...made);
}

export function list(id, name, label, values) {
  const made = Object.assign(document.createElement("select"), { id: name, name, ariaLabel: label });
  made.append(...values.map((value) => new Option(value, value)));
  $(id).querySelector(".chips").replaceChildren(made);
}

/** Show in the widgets what holds: each is called after a field. */
export function showFields(fields) {
  for (const [name, value] of Object.entries(fields)) {
    const radios = [...document.querySelectorAll(`input[type=radio][name=${name}]`)];
    const radio = radios.find((one) => one.value === String(value));
    if (radio) radio.checked = true;
    else if ($(name)?.matches("input, select")) $(name).value = value;
  }
}

export function tell(fault) {
  $("notice").textContent = fault;
  $("notice").hidden = !fault;
}

/** Say what did not work, instead of showing what would not work without it. */
export function fail(message) {
  main.dataset.state = "failed";
  $("stop").hidden = true;
  $("status").textContent = "This did not work.";
  tell(`${message}. Reload the page. If it stays: is the server there, and the browser a recent one?`);
  return new Promise(() => {}); // never settles: whatever awaits it stops here
}

/** A file of JSON. */
export function load(name) {
  return fetch(name).then(
    (answer) => (answer.ok ? answer.json() : fail(`${name} could not be loaded: the server said ${answer.status}`)),
    (error) => fail(`${name} could not be loaded: ${error.message}`),
  );
}

export async function copyLink(address, promise) {
  try {
    await navigator.clipboard.writeText(address);
    $("copied").textContent = `Copied: ${promise}.`;
  } catch {
    $("copied").textContent = "The browser does not let the page copy: the address above is the link.";
  }
}
