// One sample: what was asked, what was wanted, and what each run said.
import {
  counted,
  Facts,
  h,
  points,
  runNamed,
  scoreText,
  signed,
  useEffect,
  useRef,
  VERDICT,
  whole,
  words,
} from "./base.js";
import { sampleOf } from "./store.js";
import { changeOf } from "./rows.js";

const STATES = {
  exact: "exactly as sent (its hash agrees)",
  changed:
    "not exactly as sent (its hash differs: it was cut to fit the model, or the data has changed); this is all of it",
  unchecked: "as the data has it; the run tells no hash of what was sent",
};

export function Detail({ suite, columns, view, texts, row, position, length, onStep, onClose }) {
  const heading = useRef(null);
  const task = suite.tasks[columns.task[row]];
  useEffect(() => heading.current?.focus({ preventScroll: true }), [row]);
  function onKeyDown(event) {
    if (event.target.closest("select, input")) return;
    if (event.key === "Escape") onClose();
    else if (event.key === "ArrowLeft") onStep(-1);
    else if (event.key === "ArrowRight") onStep(1);
    else return;
    event.preventDefault();
  }
  const runs = view.against === null ? [view.run] : [view.against, view.run];
  const samples = texts ? runs.map((run) => sampleOf(texts, columns.place[row], run)) : [];
  return h(
    "section",
    { class: "detail", id: "detail", "aria-labelledby": "detail-title", onKeyDown },
    h(
      "header",
      null,
      h("h3", { id: "detail-title", tabIndex: -1, ref: heading }, `${task.name}, ${columns.ids[row]}`),
      h("p", { class: "quiet" }, `Sample ${whole(position + 1)} of ${whole(length)}`),
      h("button", { type: "button", onClick: () => onStep(-1), disabled: position === 0 }, "Previous"),
      h("button", { type: "button", onClick: () => onStep(1), disabled: position === length - 1 }, "Next"),
      h("button", { type: "button", onClick: onClose }, "Close"),
    ),
    texts ? h(Body, { suite, columns, view, row, runs, samples }) : h("p", null, "Reading …"),
  );
}

function Body({ suite, columns, view, row, runs, samples }) {
  const change = view.isComparable ? changeOf(columns, view, row) : null;
  const prompts = [...new Set(samples.map((sample) => sample.prompt))];
  const references = [...new Set(samples.flatMap((sample) => sample.references))];
  return h(
    "div",
    null,
    change !== null &&
      h(
        "p",
        null,
        "Change: ",
        h("strong", null, changeText(change, suite)),
        view.isHeadToHead ? " (judged against each other)" : "",
      ),
    h(
      "div",
      { class: "sides" },
      runs.map((run, index) => h(Side, { suite, columns, row, run, sample: samples[index], key: run })),
    ),
    h("h4", null, references.length > 1 ? `References (any of ${references.length})` : "Reference"),
    references.length
      ? references.map((text) => h(Text, { text, key: text }))
      : h("p", { class: "quiet" }, noReference(suite, samples)),
    samples
      .filter((sample) => prompts.length > 1 || sample === samples[0])
      .map((sample, index) =>
        h(Prompt, {
          suite,
          sample,
          run: runs[index],
          name: prompts.length > 1 ? runNamed(runs[index]).name : "",
          key: runs[index],
        }),
      ),
  );
}

export const changeText = (change, suite) =>
  suite.metric === VERDICT
    ? ({ 1: "from loss to win", "-1": "from win to loss" }[change] ??
      (change > 0 ? "better" : change < 0 ? "worse" : "same"))
    : `${signed(100 * change)} points`;

function noReference(suite, samples) {
  return samples.every((sample) => sample.prompt === null)
    ? "Not at hand."
    : "This benchmark lists none here: its scorer decides.";
}

function Side({ suite, columns, row, run, sample }) {
  const finish = columns.runs[run].finish[row];
  const facts = [
    ["Score", scoreText(columns.runs[run].score[row], suite.metric)],
    ...Object.entries(sample.values)
      .filter(([name]) => name !== suite.metric)
      .map(([name, value]) => [words(name), points(value)]),
    ...(finish ? [["Ended by", finish]] : []),
    ...(sample.tokens === null ? [] : [["Prompt", counted(sample.tokens, "token")]]),
    ...(sample.logprob === null ? [] : [["Log p", sample.logprob.toFixed(2)]]),
  ];
  return h(
    "article",
    null,
    h("h4", null, runNamed(run).name),
    h(Facts, { facts }),
    h("h5", null, "Output"),
    sample.output === null ? h("p", { class: "quiet" }, "Not stored.") : h(Text, { text: sample.output }),
  );
}

function Prompt({ suite, sample, run, name }) {
  const of = name ? ` to ${name}` : "";
  if (sample.prompt === null) {
    const why = suite.prompts[run].problem || "the data does not have this sample";
    return h(
      "div",
      null,
      h("h4", null, `Prompt${of}`),
      h("p", { class: "quiet" }, `Not at hand: ${why}. Only its hash is stored with the run.`),
    );
  }
  return h(
    "div",
    null,
    h("h4", null, `Prompt${of}`),
    h("p", { class: "quiet" }, `Rebuilt from the data, ${STATES[sample.state]}.`),
    h(Text, { text: sample.prompt }),
  );
}

// A model's text as it is, blanks and line ends included; an empty one says so.
export function Text({ text }) {
  return text === "" ? h("p", { class: "quiet" }, "(empty)") : h("p", { class: "text", dir: "auto" }, text);
}
