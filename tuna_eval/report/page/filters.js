// What narrows the list of samples, and what stands in its columns.
import { Choice, h, MISSING, runNamed, scoreText, signed, VERDICT, words } from "./base.js";
import { textsAtHand } from "./store.js";
import { NO_FILTERS, ORDERS, ORDERS_OF_PAIRS, changeOf } from "./rows.js";
import { changeText } from "./detail.js";

const EXCERPT = 160; // characters of an output in the list

export function Filters({ suite, columns, view, filters, onChange }) {
  const any = [["", "all"]];
  const categories = [...new Set(suite.tasks.map((task) => task.category).filter(Boolean))].sort();
  const tasks = suite.tasks.filter((task) => !filters.category || !task.category || task.category === filters.category);
  const range = (key, label) =>
    h(
      "label",
      { class: "field" },
      h("span", null, label),
      h("input", {
        type: "number",
        min: 0,
        max: 100,
        step: 1,
        value: filters[key],
        onInput: (event) => onChange({ [key]: event.target.value }),
      }),
    );
  const isPair = view.against !== null && view.isComparable;
  return h(
    "form",
    { class: "filters", "aria-label": "Filters", onSubmit: (event) => event.preventDefault() },
    categories.length > 0 &&
      h(Choice, {
        label: "Category",
        value: filters.category,
        options: [...any, ...categories.map((name) => [name, words(name)])],
        onChange: (category) => onChange({ category, task: "" }),
      }),
    h(Choice, {
      label: "Task",
      value: filters.task,
      options: [...any, ...tasks.map((task) => [task.name, task.name])],
      onChange: (task) => onChange({ task }),
    }),
    h(
      "label",
      { class: "field" },
      h("span", null, "Text"),
      h("input", { type: "search", value: filters.text, onInput: (event) => onChange({ text: event.target.value }) }),
    ),
    range("low", "Score from"),
    range("high", "to"),
    columns.finishes.length > 0 &&
      h(Choice, {
        label: "Ended by",
        value: filters.finish,
        options: [...any, ...columns.finishes.map((name) => [name, name])],
        onChange: (finish) => onChange({ finish }),
      }),
    isPair &&
      h(
        "label",
        { class: "field" },
        h("input", {
          type: "checkbox",
          checked: filters.flips,
          onChange: (event) => onChange({ flips: event.target.checked }),
        }),
        h("span", null, "Only flips"),
      ),
    h(Choice, {
      label: "Order",
      value: filters.order,
      options: isPair ? ORDERS_OF_PAIRS : ORDERS,
      onChange: (order) => onChange({ order }),
    }),
    h("button", { type: "button", onClick: () => onChange({ ...NO_FILTERS, order: filters.order }) }, "Clear"),
  );
}

// With a sample opened beside the list, its outputs are there.
export function gridColumns(suite, columns, view, isOpen) {
  const output = (run) => (row) => {
    const texts = textsAtHand(suite, columns.task[row]);
    if (!texts) return "…";
    const text = texts.runs[run].outputs[columns.place[row]];
    return text === null ? MISSING : text.slice(0, EXCERPT);
  };
  const score = (run) => (row) => scoreText(columns.runs[run].score[row], suite.metric);
  const isPair = view.against !== null;
  const change = (row) => {
    const found = changeOf(columns, view, row);
    return found === null ? MISSING : suite.metric === VERDICT ? changeText(found, suite) : signed(100 * found);
  };
  const metric = words(suite.metric);
  const outputs = (isPair ? [view.against, view.run] : [view.run]).map((run) => ({
    key: `output${run}`,
    title: isPair ? `Output of ${runNamed(run).name}` : "Output",
    width: "minmax(6rem, 2fr)",
    cell: output(run),
  }));
  return [
    { key: "task", title: "Task", width: "minmax(6rem, 1.2fr)", cell: (row) => suite.tasks[columns.task[row]].name },
    { key: "id", title: "Sample", width: "minmax(4rem, 0.8fr)", cell: (row) => columns.ids[row] },
    ...(isPair && !view.isHeadToHead
      ? [{ key: "other", title: "Before", width: "4.5rem", isNumber: true, cell: score(view.against) }]
      : []),
    {
      key: "score",
      title: isPair ? "After" : metric,
      width: isPair ? "4.5rem" : "5.5rem",
      isNumber: true,
      cell: score(view.run),
    },
    ...(view.isComparable
      ? [
          {
            key: "change",
            title: "Change",
            width: suite.metric === VERDICT ? "10rem" : "5.5rem",
            isNumber: true,
            cell: change,
          },
        ]
      : []),
    ...(isOpen && isPair ? [] : outputs),
    ...(isPair
      ? []
      : [
          {
            key: "finish",
            title: "Ended by",
            width: "5.5rem",
            cell: (row) => columns.runs[view.run].finish[row] || MISSING,
          },
        ]),
  ];
}
