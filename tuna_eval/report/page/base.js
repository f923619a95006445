// What every part of the page uses: elements, the data it was built with, numbers in words, and a voice.

export const { h, render } = globalThis.preact;
export const { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } = globalThis.preactHooks;

export const content = JSON.parse(document.getElementById("index").textContent);
export const MISSING = "–";
export const VERDICT = "verdict"; // the "metric" of samples that a judge has compared

// Says a line to who cannot see that something changed.
export function say(text) {
  document.getElementById("said").textContent = text;
}

export const whole = (count) => count.toLocaleString("en");
export const counted = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;

// A summary's value in its unit, as the console shows it.
export function shown(value, unit) {
  if (value === null || value === undefined) return MISSING;
  const digits = { percent: 1, fraction: 3, count: 0 }[unit] ?? 2;
  return value.toFixed(digits);
}

export function signed(value, digits = 1) {
  if (value === null || value === undefined) return MISSING;
  const text = value.toFixed(digits);
  return value > 0 ? `+${text}` : text.replace("-", "−");
}

// A sample's score (0..1) in percent.
export const points = (score) => (score === null || score === undefined ? MISSING : (100 * score).toFixed(1));

const VERDICTS = new Map([
  [1, "win"],
  [0.5, "tie"],
  [0, "lose"],
]);
export const scoreText = (score, metric) => (metric === VERDICT ? (VERDICTS.get(score) ?? MISSING) : points(score));

export const share = (value) => (value === null || value === undefined ? MISSING : `${(100 * value).toFixed(1)}%`);

// Names of metrics and states as words.
const NAMES = {
  rougeL: "ROUGE-L",
  rouge1: "ROUGE-1",
  bertscore_f1: "BERTScore F1",
  lmentry_score: "LMentry score",
  lmentry: "LMentry",
  vicuna_qa: "Vicuna QA",
};
export const words = (name) =>
  NAMES[name] ??
  String(name)
    .replace(/^superni_(\d+)shot$/, "Super-NI, $1-shot")
    .replaceAll("_", " ");

export const runNamed = (number) => content.runs[number];
export const suiteNamed = (name) => content.suites.find((suite) => suite.name === name) ?? content.suites[0];
export const pairOf = (run, against) => content.pairs[`${run}-${against}`];

// ---- where the reader is: #view?key=value, so that a link, "back" and a bookmark work

export function readRoute() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view: view || "overview", ...Object.fromEntries(new URLSearchParams(query)) };
}

export function linkTo(view, parameters = {}) {
  const kept = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return query ? `#${view}?${query}` : `#${view}`;
}

export function useRoute() {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const onChange = () => setRoute(readRoute());
    window.addEventListener("hashchange", onChange);
    return () => window.removeEventListener("hashchange", onChange);
  }, []);
  return route;
}

// ---- controls

export function Choice({ label, value, options, onChange }) {
  const items = options.map(([key, text]) => h("option", { value: String(key), key: String(key) }, text));
  const id = useId(); // a label around a list would be read with all that the list offers
  const select = h("select", { id, value: String(value), onChange: (event) => onChange(event.target.value) }, items);
  return h("span", { class: "field" }, h("label", { for: id }, label), select);
}

export function Facts({ facts }) {
  const rows = facts.map(([name, value]) => [h("dt", { key: `${name}:` }, name), h("dd", { key: name }, value)]);
  return h("dl", { class: "facts" }, rows);
}

// A part of the page that scrolls by itself, and so must be reached by the keyboard.
export function Scrolled({ label, children }) {
  return h("div", { class: "scrolled", role: "region", "aria-label": label, tabIndex: 0 }, children);
}
