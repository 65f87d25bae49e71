// The lessons without a server: a card at a time; answers stay in the link and in this browser, as the app's page has them.

import { keepOffline } from "./offline.js";
import { $, copyLink, load, main, tell } from "./widgets.js";

const KEPT = "ddpm-lessons"; // in the browser's store: noise=b.a.-.-&ddim=...
const [OPEN, LETTERS] = ["-", "abcd"];
const [page, lessons] = await Promise.all([load("model.json"), load("lessons.json")]);

/** The browser may not let a page keep anything; the link has the answers all the same. */
function store(act) {
  try {
    return act(localStorage);
  } catch {
    return null;
  }
}

const lessonNamed = (name) => lessons.find((one) => one.name === name);
const isRight = (lesson, said) =>
  said.length === lesson.cards.length &&
  said.every((answer, k) => answer === OPEN || LETTERS.slice(0, lesson.cards[k].choices.length).includes(answer) || answer === "x");
const given = {}; // the answers to each lesson, as lists
for (const [name, text] of new URLSearchParams(store((kept) => kept.getItem(KEPT)) ?? "")) {
  const lesson = lessonNamed(name);
  if (lesson && isRight(lesson, text.split("."))) given[name] = text.split(".");
}
const answersTo = (lesson) => (given[lesson.name] ??= lesson.cards.map(() => OPEN));
let place = { lesson: null, at: 0 };

/** Take the place and the answers from the address. @returns what is wrong with it. */
function readAddress() {
  const said = new URLSearchParams(location.search);
  const lesson = lessonNamed(said.get("lesson"));
  const faults = [];
  if (said.get("lesson") && !lesson) faults.push(`lesson=${said.get("lesson").slice(0, 20)}; right would be ${lessons.map((one) => one.name).join(", ")}`);
  let at = 0;
  if (lesson && said.has("card")) {
    at = Number(said.get("card")) - 1;
    if (!(at in lesson.cards)) {
      faults.push(`card=${said.get("card").slice(0, 20)}; right would be 1 to ${lesson.cards.length}`);
      at = 0;
    }
  }
  if (lesson && said.has("answers")) {
    const answers = said.get("answers").split(".");
    if (isRight(lesson, answers)) given[lesson.name] = answers;
    else faults.push(`answers=${said.get("answers").slice(0, 20)}; right would be one for each card, as in b.a.-.x`);
  }
  document.body.classList.toggle("projector", said.get("projector") === "on");
  place = { lesson, at };
  return faults.map((fault) => `The link asks for ${fault}.`).join("\n");
}

function address() {
  const said = new URLSearchParams();
  if (place.lesson) {
    said.set("lesson", place.lesson.name);
    said.set("card", place.at + 1);
    if (answersTo(place.lesson).some((answer) => answer !== OPEN)) said.set("answers", answersTo(place.lesson).join("."));
  }
  if (document.body.classList.contains("projector")) said.set("projector", "on");
  return `${location.origin}${location.pathname}?${said}`;
}

function go(lesson, at = 0) {
  place = { lesson, at };
  history.pushState(null, "", address());
  show();
  ($("lesson").querySelector("h2") ?? $("lesson")).focus();
  scrollTo(0, 0);
}

function give(answer) {
  const answers = answersTo(place.lesson);
  answers[place.at] = answer;
  const kept = Object.entries(given).filter(([, said]) => said.some((one) => one !== OPEN));
  store((storage) => storage.setItem(KEPT, new URLSearchParams(kept.map(([name, said]) => [name, said.join(".")]))));
  history.replaceState(null, "", address());
  show();
  $("lesson").querySelector(".result")?.focus();
}

// -- what is shown --------------------------------------------------------------------------------------------------

function element(tag, { html, children = [], ...rest } = {}) {
  const made = Object.assign(document.createElement(tag), rest);
  if (html !== undefined) made.innerHTML = html; // our own texts, from the files of the lessons
  made.append(...children);
  return made;
}

const button = (text, act, more = {}) => element("button", { type: "button", textContent: text, onclick: act, ...more });
const list = (items) => element("ul", { children: items.map((html) => element("li", { html })) });

function box(lesson, number) {
  const done = answersTo(lesson).filter((answer) => answer !== OPEN).length;
  const next = Math.max(0, answersTo(lesson).indexOf(OPEN));
  const text = !done ? "Start" : done < lesson.cards.length ? "Go on" : "Look at it again";
  const hint = `${lesson.minutes} minutes, ${lesson.cards.length} cards${done ? `, ${done} done` : ""}`;
  return element("div", { className: "card", children: [
    element("h2", { textContent: `${number + 1}. ${lesson.heading}` }), element("p", { className: "hint", textContent: hint }),
    list(lesson.asks),
    button(text, () => go(lesson, next), { className: "primary" }),
  ] });
}

function choice(card, answer, k) {
  const text = `${LETTERS[k]}) ${card.choices[k]}`;
  if (answer === OPEN) return button("", () => give(LETTERS[k]), { innerHTML: text });
  const marks = [k === card.answer ? "what came" : "", LETTERS[k] === answer ? "your guess" : ""].filter(Boolean).join(", ");
  const html = text + (marks ? ` <small>← ${marks}</small>` : "");
  return element("button", { type: "button", html, disabled: true, className: k === card.answer ? "came" : "" });
}

function figures(row) {
  const made = row.figures.map(({ label, facts, source }) => {
    const image = element("img", { src: source, alt: [row.label, label, facts].filter(Boolean).join(", ") });
    image.onload = () => {
      const shape = image.naturalWidth / image.naturalHeight;
      image.closest(".figures")?.classList.toggle("wide", shape > 1.8);
      image.closest(".stacked")?.classList.toggle("lines", shape > 0.9 * row.across); // which are compared by column
    };
    const caption = element("figcaption", { children: [element("b", { textContent: label }), element("br"), facts] });
    return element("figure", { children: [image, caption] });
  });
  const charts = row.across ? " stacked" : row.figures.some((one) => one.chart) ? " charts" : "";
  const grid = element("div", { className: `figures${charts}${made.length === 4 ? " four" : ""}`, children: made });
  grid.style.setProperty("--count", made.length);
  grid.style.setProperty("--across", row.across);
  return [row.label ? element("b", { textContent: row.label }) : "", grid];
}

function result(card, answer) {
  const verdict = answer === "x" ? "" : card.verdicts[LETTERS.indexOf(answer)];
  const links = card.visits.map((one) => element("a", { href: one.address, textContent: one.label }));
  return element("div", { className: "result", tabIndex: -1, children: [
    ...card.rows.flatMap(figures),
    element("p", { html: `<b>What came.</b> ${verdict} ${card.came}` }), element("p", { html: `<b>Why.</b> ${card.why}` }),
    card.formula ? element("img", { className: "formula", src: card.formulaPicture, alt: card.formula }) : "",
    element("p", { className: "row", children: [...links, button("Ask this card again", () => give(OPEN))] }),
    card.words.length ? element("details", { children: [element("summary", { textContent: "Words on this card" }), list(card.words)] }) : "",
  ] });
}

function numbers(lesson, at) {
  const made = lesson.cards.map((card, k) => {
    const one = button(String(k + 1), () => go(lesson, k), { ariaLabel: `Card ${k + 1}: ${card.heading}` });
    if (k === at) one.setAttribute("aria-current", "step");
    one.classList.toggle("done", answersTo(lesson)[k] !== OPEN);
    return one;
  });
  return element("div", { className: "row numbers", children: [button("All lessons", () => go(null)), ...made] });
}

function show() {
  const { lesson, at } = place;
  if (!lesson) {
    $("lesson").replaceChildren(element("div", { className: "boxes", children: lessons.map(box) }));
    return;
  }
  const [card, answer] = [lesson.cards[at], answersTo(lesson)[at]];
  const following = lessons[lessons.indexOf(lesson) + 1];
  const last = at === lesson.cards.length - 1;
  const finished = last && !answersTo(lesson).includes(OPEN);
  $("lesson").replaceChildren(
    element("p", { children: [element("b", { textContent: lesson.heading }), ` · card ${at + 1} of ${lesson.cards.length}`] }),
    numbers(lesson, at),
    element("div", { className: "card", children: [
      element("h2", { textContent: card.heading, tabIndex: -1 }), element("p", { html: card.setup }),
      element("p", { html: `<b>${card.question}</b>` }),
      element("div", { className: "choices", children: card.choices.map((_, k) => choice(card, answer, k)) }),
      answer === OPEN ? button("Skip, just show me", () => give("x")) : result(card, answer),
    ] }),
    element("div", { className: "row", children: [
      button("Back", () => go(lesson, at - 1), { disabled: at === 0 }),
      last ? "" : button("Next card", () => go(lesson, at + 1), { className: "primary" }),
      last && following ? button(`Next lesson: ${following.heading}`, () => go(following), { className: "primary" }) : "",
    ] }),
    finished ? element("div", { className: "card", children: [element("p", { textContent: "That was the last card. You now know" }), list(lesson.know)] }) : "",
  );
}

// -- the start ------------------------------------------------------------------------------------------------------

for (const [text, href] of Object.entries(page.links)) {
  $("links").append(element("a", { textContent: text, href }), " ");
}
$("link").addEventListener("click", () => copyLink(address(), "it opens this card, with your answers"));
$("projector").addEventListener("click", () => {
  document.body.classList.toggle("projector");
  history.replaceState(null, "", address());
});
$("forget").addEventListener("click", () => {
  if (!confirm("Forget the answers to all lessons?")) return;
  for (const name of Object.keys(given)) delete given[name];
  store((kept) => kept.removeItem(KEPT));
  history.replaceState(null, "", address());
  show();
});
function restore() {
  tell(readAddress());
  show();
}
addEventListener("popstate", restore);
restore();
$("status").hidden = true;
document.querySelector(".foot").hidden = false;
main.dataset.state = "done";
keepOffline(page, (name) => !/^ort\/|\.onnx$/.test(name));
