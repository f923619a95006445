// One benchmark, task by task and category by category; each task leads to its samples.
import {
  Choice,
  content,
  h,
  linkTo,
  pairOf,
  runNamed,
  Scrolled,
  shown,
  signed,
  suiteNamed,
  useMemo,
  useState,
  words,
} from "./base.js";
import { SortedTable } from "./table.js";

export function Tasks({ route }) {
  const suite = suiteNamed(route.suite);
  const metrics = useMemo(() => metricsOf(suite), [suite]);
  const [chosen, setChosen] = useState("");
  const metric = metrics.includes(chosen) ? chosen : metrics.includes(suite.metric) ? suite.metric : metrics[0];
  const choose = (name) => {
    location.hash = linkTo("tasks", { suite: name });
  };
  const [tasks, categories] = useMemo(() => [taskRows(suite, metric), categoryRows(suite, metric)], [suite, metric]);
  const columns = useMemo(() => columnsOf(suite), [suite]);
  return h(
    "div",
    null,
    h("h2", null, "Tasks"),
    h(
      "div",
      { class: "filters" },
      h(Choice, {
        label: "Benchmark",
        value: suite.name,
        options: content.suites.map((own) => [own.name, words(own.name)]),
        onChange: choose,
      }),
      metrics.length > 0 &&
        h(Choice, {
          label: "Metric",
          value: metric,
          options: metrics.map((name) => [name, words(name)]),
          onChange: setChosen,
        }),
    ),
    categories.length > 0 &&
      h(TableOf, {
        caption: "Categories",
        columns: columns.filter((column) => column.key !== "category"),
        rows: categories,
      }),
    h(TableOf, {
      caption: "Tasks",
      columns: suite.tasks.some((task) => task.category)
        ? columns
        : columns.filter((column) => column.key !== "category"),
      rows: tasks,
    }),
  );
}

const TableOf = (own) => h(Scrolled, { label: own.caption }, h(SortedTable, { ...own, rowKey: (row) => row.name }));

// The results of a task; Vicuna's tasks are its categories.
const resultsOf = (run, task) => runNamed(run).tasks[task] ?? runNamed(run).categories[task] ?? {};

function metricsOf(suite) {
  return [
    ...new Set(suite.runs.flatMap((run) => suite.tasks.flatMap((task) => Object.keys(resultsOf(run, task.name))))),
  ];
}

function taskRows(suite, metric) {
  return suite.tasks.map((task) => ({
    name: task.name,
    category: task.category,
    size: task.size,
    link: linkTo("samples", { suite: suite.name, task: task.name }),
    results: Object.fromEntries(suite.runs.map((run) => [run, resultsOf(run, task.name)[metric]])),
  }));
}

function categoryRows(suite, metric) {
  const names = [...new Set(suite.runs.flatMap((run) => Object.keys(runNamed(run).categories)))];
  const isTask = new Set(suite.tasks.map((task) => task.name));
  return names
    .filter((name) => !isTask.has(name))
    .map((name) => ({
      name,
      isCategory: true,
      size: suite.tasks.filter((task) => task.category === name).reduce((total, task) => total + task.size, 0) || null,
      link: linkTo("samples", { suite: suite.name, category: name }),
      results: Object.fromEntries(suite.runs.map((run) => [run, runNamed(run).categories[name]?.[metric]])),
    }));
}

function columnsOf(suite) {
  const [baseline, ...others] = suite.runs;
  const ofRun = (run) => ({
    key: `run${run}`,
    title: runNamed(run).name,
    isNumber: true,
    value: (row) => row.results[run]?.value ?? null,
    cell: (row) => shown(row.results[run]?.value, row.results[run]?.unit),
  });
  const changes = others.filter(
    (run) => !pairOf(run, baseline).differences.length && !pairOf(run, baseline).head_to_head,
  );
  return [
    {
      key: "name",
      title: "Name",
      value: (row) => row.name,
      cell: (row) => h("a", { href: row.link }, row.isCategory ? words(row.name) : row.name),
    },
    { key: "category", title: "Category", value: (row) => row.category, cell: (row) => words(row.category) },
    { key: "size", title: "Samples", isNumber: true, value: (row) => row.size },
    ...suite.runs.map(ofRun),
    ...changes.map((run) => ({
      key: `change${run}`,
      title: changes.length > 1 ? `Change of ${runNamed(run).name}` : "Change",
      isNumber: true,
      value: (row) => changeOf(row.results[run], row.results[baseline]),
      cell: (row) =>
        signed(changeOf(row.results[run], row.results[baseline]), row.results[run]?.unit === "fraction" ? 3 : 1),
    })),
  ];
}

function changeOf(own, other) {
  const values = [own?.value ?? null, other?.value ?? null];
  return values.includes(null) ? null : values[0] - values[1];
}
