// The page: where to go, light or dark, and the view that the address names.
import { Choice, content, h, linkTo, render, say, useEffect, useRef, useRoute, useState } from "./base.js";
import { Judging } from "./judging.js";
import { Overview } from "./overview.js";
import { Provenance } from "./provenance.js";
import { Samples } from "./samples.js";
import { Tasks } from "./tasks.js";

const VIEWS = [
  ["overview", "Overview", Overview],
  ["tasks", "Tasks", Tasks],
  ["samples", "Samples", (own) => h(Samples, { ...own, isComparison: false })],
  ["compare", "Compare", (own) => h(Samples, { ...own, isComparison: true })],
  ["judging", "Judging", Judging],
  ["provenance", "Provenance", Provenance],
];
const SCHEMES = [
  ["", "as the system"],
  ["light", "light"],
  ["dark", "dark"],
];
const KEPT = "tuna-report-scheme";

function keptScheme() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // a browser that keeps nothing for a page from a file
  }
}

function Scheme() {
  const [scheme, setScheme] = useState(keptScheme);
  useEffect(() => {
    document.documentElement.dataset.scheme = scheme;
    try {
      localStorage.setItem(KEPT, scheme);
    } catch {
      // it holds until the page is closed
    }
  }, [scheme]);
  return h(Choice, { label: "Colours", value: scheme, options: SCHEMES, onChange: setScheme });
}

function App() {
  const route = useRoute();
  const isFirst = useRef(true);
  const [name, title, View] = VIEWS.find(([key]) => key === route.view) ?? VIEWS[0];
  useEffect(() => {
    document.title = `${title} – ${content.title}`;
    if (!isFirst.current) say(title);
    isFirst.current = false;
  }, [name]);
  const links = VIEWS.map(([key, text]) =>
    h("a", { href: linkTo(key), "aria-current": key === name ? "page" : null, key }, text),
  );
  return [
    h("header", { key: "header" }, h("h1", null, content.title), h("nav", { "aria-label": "Views" }, links), h(Scheme)),
    h("main", { id: "main", tabIndex: -1, key: "main" }, h(View, { route, key: name })),
    h(
      "footer",
      { class: "quiet", key: "footer" },
      `Made by Tuna ${content.version}. This page is one file and asks no network for anything.`,
    ),
  ];
}

document.getElementById("skip").addEventListener("click", (event) => {
  // the address stays the view's
  event.preventDefault();
  document.getElementById("main").focus();
});
const place = document.getElementById("app");
place.textContent = "";
render(h(App), place);
