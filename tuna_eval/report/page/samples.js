// The samples of one benchmark: filters, the list, one sample; with two runs the flips come first.
import {
  Choice,
  content,
  counted,
  h,
  linkTo,
  pairOf,
  runNamed,
  say,
  shown,
  signed,
  suiteNamed,
  useEffect,
  useMemo,
  useState,
  whole,
  words,
} from "./base.js";
import { loadColumns, loadTexts, textsAtHand } from "./store.js";
import { NO_FILTERS, searchTexts, selectRows, tallyChanges } from "./rows.js";
import { clamp, Grid } from "./grid.js";
import { Detail } from "./detail.js";
import { Filters, gridColumns } from "./filters.js";
import { Refusal } from "./overview.js";

// Benchmarks that the view can show: to compare, there must be two runs.
const suitesFor = (isComparison) => content.suites.filter((suite) => !isComparison || suite.runs.length > 1);

export function Samples({ route, isComparison }) {
  const suites = suitesFor(isComparison);
  const suite = suites.includes(suiteNamed(route.suite)) ? suiteNamed(route.suite) : suites[0];
  const [columns, setColumns] = useState(null);
  useEffect(() => {
    let isCurrent = true;
    setColumns(null);
    if (suite) loadColumns(suite).then((found) => isCurrent && setColumns({ suite, found }));
    return () => {
      isCurrent = false;
    };
  }, [suite]);
  const title = isComparison ? "Compare two runs" : "Samples";
  if (!suite)
    return h(
      "div",
      null,
      h("h2", null, title),
      h("p", null, "No benchmark here has two runs. Name two models' runs: tuna-eval report RUN RUN --out page.html"),
    );
  const view = viewOf(suite, route, isComparison);
  const key = JSON.stringify([suite.name, view.run, view.against, route.task, route.category]);
  return h(
    "div",
    null,
    h("h2", null, title),
    h(Chosen, { suite, suites, view, isComparison }),
    columns?.suite === suite
      ? h(Browser, { suite, columns: columns.found, view, route, key })
      : h("p", null, "Reading …"),
  );
}

function viewOf(suite, route, isComparison) {
  const known = (number, fallback) => (suite.runs.includes(Number(number)) ? Number(number) : fallback);
  if (!isComparison)
    return { run: known(route.run, suite.runs[0]), against: null, isComparable: false, isHeadToHead: false };
  const against = known(route.against, suite.runs[0]);
  const run = known(
    route.run,
    suite.runs.find((own) => own !== against),
  );
  const pair = pairOf(run, against);
  return {
    run,
    against,
    pair,
    isComparable: Boolean(pair) && !pair.differences.length,
    isHeadToHead: Boolean(pair?.head_to_head),
  };
}

function Chosen({ suite, suites, view, isComparison }) {
  const go = (changes) => {
    location.hash = linkTo(isComparison ? "compare" : "samples", {
      suite: suite.name,
      run: view.run,
      against: view.against,
      ...changes,
    });
  };
  const runs = suite.runs.map((number) => [number, runNamed(number).name]);
  const others = (taken) => runs.filter(([number]) => number !== taken);
  return h(
    "div",
    { class: "filters" },
    h(Choice, {
      label: "Benchmark",
      value: suite.name,
      options: suites.map((own) => [own.name, words(own.name)]),
      onChange: (name) => go({ suite: name, run: "", against: "" }),
    }),
    h(Choice, {
      label: "Run",
      value: view.run,
      options: isComparison ? others(view.against) : runs,
      onChange: (run) => go({ run }),
    }),
    isComparison &&
      h(Choice, {
        label: "Compared with",
        value: view.against,
        options: others(view.run),
        onChange: (against) => go({ against }),
      }),
    isComparison &&
      h("button", { type: "button", onClick: () => go({ run: view.against, against: view.run }) }, "Swap"),
  );
}

function Browser({ suite, columns, view, route }) {
  const isPair = view.against !== null;
  const [filters, setFilters] = useState({
    ...NO_FILTERS,
    task: route.task ?? "",
    category: route.category ?? "",
    flips: isPair && view.isComparable,
    order: isPair && view.isComparable ? "loss" : "data",
  });
  const [matches, setMatches] = useState(null);
  const [active, setActive] = useState(0);
  const [isOpen, setOpen] = useState(false);
  const [, redraw] = useState(0);
  useSearch(suite, columns, view, filters.text, setMatches);
  const rows = useMemo(
    () => selectRows(suite, columns, { ...view, filters, matches }),
    [suite, columns, view.run, view.against, filters, matches],
  );
  useEffect(() => {
    setActive(0);
    say(`${counted(rows.length, "sample")} of ${whole(suite.size)} listed`);
  }, [rows]);
  const position = clamp(active, rows.length);
  const row = rows[position];
  useEffect(() => {
    if (isOpen && row !== undefined) read([columns.task[row]]);
  }, [isOpen, row]);

  const read = (tasks) =>
    Promise.all(
      [...new Set(tasks)].filter((task) => !textsAtHand(suite, task)).map((task) => loadTexts(suite, task)),
    ).then((loaded) => loaded.length && redraw((count) => count + 1));
  const close = () => {
    setOpen(false);
    document.getElementById("samples-grid")?.focus();
  };
  const open = (at) => {
    setActive(at);
    setOpen(rows.length > 0);
  };
  const listed = h(Grid, {
    label: "Samples. Arrow keys move, Enter opens.",
    columns: gridColumns(suite, columns, view, isOpen),
    rows,
    active: position,
    onActive: setActive,
    onOpen: open,
    onSeen: (seen) => read(seen.map((each) => columns.task[each])),
  });
  return h(
    "div",
    null,
    isPair && h(Comparison, { suite, columns, view }),
    h(Filters, { suite, columns, view, filters, onChange: (changes) => setFilters((now) => ({ ...now, ...changes })) }),
    h("p", { id: "listed" }, `${counted(rows.length, "sample")} of ${whole(suite.size)}`),
    h(
      "div",
      { class: isOpen && row !== undefined ? "browser open" : "browser" },
      listed,
      isOpen &&
        row !== undefined &&
        h(Detail, {
          suite,
          columns,
          view,
          row,
          position,
          length: rows.length,
          texts: textsAtHand(suite, columns.task[row]),
          onStep: (step) => setActive(clamp(position + step, rows.length)),
          onClose: close,
        }),
    ),
  );
}

// Reads every text of the benchmark when there is something to find, a moment after the last key.
function useSearch(suite, columns, view, text, setMatches) {
  useEffect(() => {
    let isWanted = true;
    if (!text.trim()) {
      setMatches(null);
      return undefined;
    }
    const runs = view.against === null ? [view.run] : [view.run, view.against];
    const timer = setTimeout(async () => {
      say("Searching");
      const found = await searchTexts(
        suite,
        columns,
        runs,
        text.trim(),
        () => isWanted,
        () => {},
      );
      if (found && isWanted) setMatches(found);
    }, 250);
    return () => {
      isWanted = false;
      clearTimeout(timer);
    };
  }, [suite, columns, view.run, view.against, text]);
}

function Comparison({ suite, columns, view }) {
  const tally = useMemo(
    () => view.isComparable && tallyChanges(suite, columns, view),
    [suite, columns, view.run, view.against],
  );
  if (!view.isComparable) {
    return h(
      "div",
      null,
      h(Refusal, { run: view.run, against: view.against, pair: view.pair }),
      h("p", null, "Their samples stand side by side below, without a change of score."),
    );
  }
  const { change, problem } = view.pair;
  return h(
    "p",
    { class: "change", id: "change" },
    change && [
      h("strong", { key: "change" }, `${words(change.metric)} ${signed(change.difference, 2)}`),
      ` (${shown(change.baseline, "percent")} → ${shown(change.candidate, "percent")})`,
      tested(change),
      ". ",
    ],
    problem && `Not tested: ${problem}. `,
    !change && !problem && "Only the change from the first run is tested here; tuna-eval gate tests any. ",
    `${counted(tally.fallen, "sample")} fell, ${whole(tally.risen)} rose, ${whole(tally.same)} stayed.`,
  );
}

function tested(change) {
  const interval = change.interval
    ? `, ${Math.round(100 * change.interval.confidence)}% interval [${signed(change.interval.low, 2)}, ${signed(change.interval.high, 2)}]`
    : "";
  const p = change.p_value === null ? "" : `, p of a drop = ${change.p_value.toFixed(4)}`;
  return `${interval}${p}, ${counted(change.units, change.unit)} resampled`;
}
