// What a number needs to be trusted: hashes, versions, settings, coverage; runs side by side, and where they differ.
import {
  Choice,
  content,
  counted,
  h,
  linkTo,
  pairOf,
  runNamed,
  Scrolled,
  suiteNamed,
  useMemo,
  useState,
  whole,
  words,
} from "./base.js";
import { Refusal } from "./overview.js";
import { SortedTable } from "./table.js";

export function Provenance({ route }) {
  const suite = suiteNamed(route.suite);
  const choose = (name) => {
    location.hash = linkTo("provenance", { suite: name });
  };
  const [first, ...others] = suite.runs;
  const refused = others.filter((run) => pairOf(run, first).differences.length);
  return h(
    "div",
    null,
    h("h2", null, "Coverage and provenance"),
    h(
      "div",
      { class: "filters" },
      h(Choice, {
        label: "Benchmark",
        value: suite.name,
        options: content.suites.map((own) => [own.name, words(own.name)]),
        onChange: choose,
      }),
    ),
    refused.map((run) => h(Refusal, { run, against: first, pair: pairOf(run, first), key: run })),
    h(Coverage, { suite }),
    h(Settings, { suite, key: suite.name }),
  );
}

const COVERAGE = [
  ["tasks", "Tasks", (own) => own.tasks],
  ["expected", "of the benchmark's", (own) => own.expected_tasks],
  ["scored", "Scored", (own) => own.scored],
  ["examples", "of examples", (own) => own.examples],
  ["missing", "Without an output", (own) => own.missing?.count ?? 0],
  ["unknown", "Not in the data", (own) => own.unknown?.count ?? 0],
  ["duplicates", "Twice", (own) => own.duplicates?.count ?? 0],
  ["length", "Cut off at the token limit", (own) => own.finish_reasons?.length ?? null],
];

function Coverage({ suite }) {
  const rows = useMemo(
    () =>
      suite.runs.map((number) => ({
        number,
        name: runNamed(number).name,
        coverage: runNamed(number).coverage,
        prompts: suite.prompts[number],
      })),
    [suite],
  );
  const columns = useMemo(
    () => [
      { key: "name", title: "Run", value: (row) => row.name },
      ...COVERAGE.map(([key, title, value]) => ({
        key,
        title,
        isNumber: true,
        value: (row) => value(row.coverage) ?? null,
      })),
      { key: "prompts", title: "Prompts shown here", value: (row) => promptsText(row.prompts) },
    ],
    [],
  );
  return h(
    Scrolled,
    { label: "Coverage" },
    h(SortedTable, { caption: "Coverage", columns, rows, rowKey: (row) => row.number }),
  );
}

function promptsText(prompts) {
  if (prompts.problem) return `none: ${prompts.problem}`;
  const parts = [
    [prompts.exact, "agree with their hash"],
    [prompts.changed, "differ from their hash"],
    [prompts.unchecked, "have no hash"],
    [prompts.missing, "are not in the data"],
  ];
  return (
    parts
      .filter(([count]) => count)
      .map(([count, text]) => `${whole(count)} ${text}`)
      .join(", ") || "none"
  );
}

// Nested settings as one line each, with the way to it as its name.
function flatten(value, path, into) {
  if (value !== null && typeof value === "object" && Object.keys(value).length) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, path ? `${path} › ${key}` : key, into);
  } else into.set(path, typeof value === "string" ? value : JSON.stringify(value));
  return into;
}

function Settings({ suite }) {
  const [onlyDifferent, setOnly] = useState(false);
  const [text, setText] = useState("");
  const rows = useMemo(() => {
    const facts = suite.runs.map((number) => flatten(runNamed(number).provenance, "", new Map()));
    return [...new Set(facts.flatMap((own) => [...own.keys()]))].map((name) => {
      const values = facts.map((own) => own.get(name) ?? "");
      return { name, values, isDifferent: new Set(values).size > 1 };
    });
  }, [suite]);
  const needle = text.trim().toLowerCase();
  const listed = rows.filter(
    (row) =>
      (!onlyDifferent || row.isDifferent) &&
      (!needle || [row.name, ...row.values].some((part) => part.toLowerCase().includes(needle))),
  );
  return h(
    "section",
    { "aria-label": "Provenance" },
    h("h3", null, "Provenance"),
    h(
      "form",
      { class: "filters", "aria-label": "Filter of the provenance", onSubmit: (event) => event.preventDefault() },
      h(
        "label",
        { class: "field" },
        h("span", null, "Text"),
        h("input", { type: "search", value: text, onInput: (event) => setText(event.target.value) }),
      ),
      suite.runs.length > 1 &&
        h(
          "label",
          { class: "field" },
          h("input", { type: "checkbox", checked: onlyDifferent, onChange: (event) => setOnly(event.target.checked) }),
          h("span", null, "Only what differs"),
        ),
    ),
    h(
      Scrolled,
      { label: "Provenance, run by run" },
      h(
        "table",
        { class: "provenance" },
        h("caption", null, `${counted(listed.length, "fact")}; what differs between the runs is marked ≠`),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("th", { scope: "col" }, "Name"),
            suite.runs.map((number) => h("th", { scope: "col", key: number }, runNamed(number).name)),
          ),
        ),
        h(
          "tbody",
          null,
          listed.map((row) =>
            h(
              "tr",
              { key: row.name, class: row.isDifferent ? "different" : null },
              h("th", { scope: "row" }, row.isDifferent ? "≠ " : "", row.name),
              row.values.map((value, index) => h("td", { key: index, class: "text" }, value)),
            ),
          ),
        ),
      ),
    ),
  );
}
