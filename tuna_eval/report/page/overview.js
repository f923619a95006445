// All systems side by side, benchmark by benchmark.
import { content, counted, h, linkTo, pairOf, Scrolled, shown, useMemo, words } from "./base.js";
import { totalSamples } from "./store.js";
import { SortedTable } from "./table.js";

export function Overview() {
  const suites = [...new Set(content.values.map((value) => value.suite))];
  const counts = [
    [content.systems, "system"],
    [content.runs.length, "run"],
    [totalSamples, "sample"],
  ];
  const told = counts.map(([count, noun]) => counted(count, noun)).join(", ");
  return h(
    "div",
    null,
    h("h2", null, "Overview"),
    h("p", { class: "quiet" }, `${told}. Brackets hold 95% intervals. A column's head sorts by it.`),
    suites.map((suite) => h(SuiteTable, { suite, key: suite })),
  );
}

function SuiteTable({ suite }) {
  const [columns, rows] = useMemo(() => [columnsOf(suite), rowsOf(suite)], [suite]);
  const table = h(SortedTable, { caption: words(suite), columns, rows, rowKey: (row) => row.system });
  return h(
    "section",
    { "aria-label": words(suite) },
    h(Scrolled, { label: `${words(suite)}, scores` }, table),
    h(Refusals, { rows }),
  );
}

function rowsOf(suite) {
  const first = content.runs.findIndex((run) => run.suite === suite);
  return [...new Set(content.values.filter((value) => value.suite === suite).map((value) => value.system))].map(
    (system) => {
      const number = content.runs.findIndex((run) => run.suite === suite && run.name === system);
      const values = Object.fromEntries(
        content.values
          .filter((value) => value.suite === suite && value.system === system)
          .map((value) => [value.metric, value]),
      );
      return { suite, system, number, values, first, pair: pairOf(number, first) };
    },
  );
}

function columnsOf(suite) {
  const metrics = [...new Set(content.values.filter((value) => value.suite === suite).map((value) => value.metric))];
  const hasRuns = content.runs.some((run) => run.suite === suite);
  return [
    { key: "system", title: "System", value: (row) => row.system, cell: systemCell },
    ...metrics.map((metric) => ({
      key: metric,
      title: words(metric),
      isNumber: true,
      value: (row) => row.values[metric]?.value ?? null,
      cell: (row) => metricCell(row.values[metric]),
    })),
    ...(hasRuns
      ? [{ key: "note", title: "Note", className: "note", value: (row) => content.runs[row.number]?.note ?? "" }]
      : []),
  ];
}

function systemCell(row) {
  if (row.number < 0) return row.system;
  return h("a", { href: linkTo("tasks", { suite: row.suite }) }, row.system);
}

function metricCell(value) {
  if (value?.text) return value.text;
  const text = shown(value?.value, value?.unit);
  if (!value || value.low === null) return text;
  return [text, h("small", null, ` [${shown(value.low, value.unit)}, ${shown(value.high, value.unit)}]`)];
}

// Scores in one column that must not be compared.
function Refusals({ rows }) {
  const refused = rows.filter((row) => row.pair?.differences.length);
  return refused.map((row) => h(Refusal, { run: row.number, against: row.first, pair: row.pair, key: row.number }));
}

export function Refusal({ run, against, pair }) {
  const names = [content.runs[run].name, content.runs[against].name];
  return h(
    "div",
    { class: "refusal", role: "note" },
    h("strong", null, `${names[0]} does not compare with ${names[1]}: `),
    h(
      "ul",
      null,
      pair.differences.map((text) => h("li", { key: text }, text)),
    ),
  );
}
