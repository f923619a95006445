// Which samples are listed, and in which order: arithmetic on the columns of a benchmark.
import { loadTexts, sampleOf } from "./store.js";

export const NO_FILTERS = {
  task: "",
  category: "",
  text: "",
  low: "",
  high: "",
  finish: "",
  flips: false,
  order: "data",
};

export const ORDERS = [
  ["data", "order of the data"],
  ["low", "lowest score first"],
  ["high", "highest score first"],
];
export const ORDERS_OF_PAIRS = [["loss", "largest loss first"], ["gain", "largest gain first"], ...ORDERS];

const EVEN = 0.5; // what an answer scores against itself

// By how much a sample's score changed from one run to the other, 0..1; null where one of them has none.
export function changeOf(columns, view, row) {
  const own = columns.runs[view.run].score[row];
  const other = view.isHeadToHead ? EVEN : columns.runs[view.against]?.score[row];
  if (own === null || other === null || other === undefined) return null;
  return own - other;
}

// The listed samples, as positions in the columns.
// view: { run, against (a run or null), isComparable, isHeadToHead, filters, matches (of the text, or null) }
export function selectRows(suite, columns, view) {
  const isKept = keeper(suite, columns, view);
  const rows = [];
  for (let row = 0; row < suite.size; row += 1) if (isKept(row)) rows.push(row);
  const key = sortKey(columns, view);
  if (!key) return rows;
  const keys = new Float64Array(suite.size);
  for (const row of rows) keys[row] = key(row) ?? Infinity;
  return rows.sort((a, b) => (keys[a] === keys[b] ? a - b : keys[a] - keys[b])); // what has no score comes last
}

function keeper(suite, columns, view) {
  const { filters, matches } = view;
  const { score, finish } = columns.runs[view.run];
  const tasks = suite.tasks.map(
    (task) =>
      (!filters.task || task.name === filters.task) &&
      (!filters.category || task.category === filters.category || task.name === filters.category),
  );
  const low = filters.low === "" ? -Infinity : Number(filters.low) / 100;
  const high = filters.high === "" ? Infinity : Number(filters.high) / 100;
  const hasRange = filters.low !== "" || filters.high !== "";
  return (row) =>
    tasks[columns.task[row]] &&
    (!matches || matches[row] === 1) &&
    (!filters.finish || finish[row] === filters.finish) &&
    (!hasRange || (score[row] !== null && score[row] >= low && score[row] <= high)) &&
    (!filters.flips || !view.isComparable || Boolean(changeOf(columns, view, row)));
}

function sortKey(columns, view) {
  const { score } = columns.runs[view.run];
  const negated = (value) => (value === null ? null : -value);
  const keys = { low: (row) => score[row], high: (row) => negated(score[row]) };
  if (view.isComparable) {
    keys.loss = (row) => changeOf(columns, view, row);
    keys.gain = (row) => negated(changeOf(columns, view, row));
  }
  return keys[view.filters.order];
}

// How many samples rose, fell and stayed, among those that both runs have a score of.
export function tallyChanges(suite, columns, view) {
  const tally = { fallen: 0, risen: 0, same: 0 };
  for (let row = 0; row < suite.size; row += 1) {
    const change = changeOf(columns, view, row);
    if (change !== null) tally[change < 0 ? "fallen" : change > 0 ? "risen" : "same"] += 1;
  }
  return tally;
}

// Which samples hold a text, in prompt, references or output, as a byte a sample; null if `isWanted` turned false.
export async function searchTexts(suite, columns, runs, text, isWanted, onProgress) {
  const found = new Uint8Array(suite.size);
  const needle = text.toLowerCase();
  const holds = (value) => typeof value === "string" && value.toLowerCase().includes(needle);
  let row = 0;
  for (let number = 0; number < suite.tasks.length; number += 1) {
    const texts = await loadTexts(suite, number);
    if (!isWanted()) return null;
    for (let place = 0; place < suite.tasks[number].size; place += 1) {
      const samples = runs.map((run) => sampleOf(texts, place, run));
      const parts = samples.flatMap((sample) => [sample.output, sample.prompt, ...sample.references]);
      found[row] = Number(holds(columns.ids[row]) || parts.some(holds));
      row += 1;
    }
    onProgress((number + 1) / suite.tasks.length);
  }
  return found;
}
