// What a judge said of a run: verdicts, coverage, biases; transcripts.js has its every reply.
import {
  Choice,
  content,
  Facts,
  h,
  linkTo,
  MISSING,
  Scrolled,
  share,
  shown,
  signed,
  useMemo,
  whole,
  words,
} from "./base.js";
import { SortedTable } from "./table.js";
import { Transcripts } from "./transcripts.js";

const judged = content.runs.flatMap((run) => run.judgings.map((judging) => ({ run, judging })));

export function Judging({ route }) {
  if (!judged.length)
    return h(
      "div",
      null,
      h("h2", null, "Judging"),
      h(
        "p",
        null,
        "No run here was judged. tuna-eval judge RUN --judge NAME --baseline RUN judges the answers to Vicuna QA.",
      ),
    );
  const number = Math.min(Number(route.judging) || 0, judged.length - 1);
  const { run, judging } = judged[number];
  const name = (own) =>
    `${own.run.name} against ${own.judging.baseline || "a baseline"}, by ${own.judging.judge}` +
    (own.judging.counts ? "" : " (not in the tables)");
  const choices = judged.map((own, index) => [index, name(own)]);
  return h(
    "div",
    null,
    h("h2", null, "Judging"),
    h(
      "div",
      { class: "filters" },
      h(Choice, {
        label: "Judging",
        value: number,
        options: choices,
        onChange: (chosen) => {
          location.hash = linkTo("judging", { judging: chosen });
        },
      }),
    ),
    h(
      "div",
      { class: "panels" },
      h(Verdicts, { judging }),
      h(CoveragePanel, { judging }),
      h(BiasPanel, { bias: judging.results.bias }),
      h(Usage, { judging }),
    ),
    h(LengthTable, { bins: judging.results.bias.by_length }),
    h(CategoryTable, { categories: judging.results.categories }),
    h(Transcripts, { run, judging, key: number }),
  );
}

function Panel({ title, children }) {
  return h("section", { class: "panel", "aria-label": title }, h("h3", null, title), children);
}

function Verdicts({ judging }) {
  const { tally, significance } = judging.results;
  const { win, lose, tie } = tally.counts;
  const interval = significance.interval
    ? ` [${signed(significance.interval.low)}, ${signed(significance.interval.high)}]`
    : "";
  return h(
    Panel,
    { title: "Verdicts" },
    h(Facts, {
      facts: [
        ["Win", whole(win)],
        ["Lose", whole(lose)],
        ["Tie", whole(tie)],
        ["Win rate, a tie is half", share(tally.win_rate)],
        [
          "Wins less losses",
          significance.points === null ? MISSING : `${signed(significance.points)} points${interval}`,
        ],
        ["Sign test", significance.p_value === null ? MISSING : `p = ${significance.p_value.toFixed(4)}`],
      ],
    }),
  );
}

function CoveragePanel({ judging }) {
  const { tally, low_confidence, cut } = judging.results;
  const { win, lose, tie } = tally.counts;
  return h(
    Panel,
    { title: "Coverage" },
    h(Facts, {
      facts: [
        ["Questions with a verdict", `${whole(win + lose + tie)} of ${whole(tally.asked)} (${share(tally.coverage)})`],
        ["Unparsable", whole(tally.unparsable)],
        ["Refused", whole(tally.refused)],
        ["Failed", whole(tally.api_error)],
        ["Not judged yet", whole(tally.not_judged)],
        ["Verdicts to look at again", whole(low_confidence)],
        ["Answers that were cut", whole(cut)],
      ],
    }),
  );
}

const withInterval = (own) =>
  own.interval ? `${share(own.value)} [${share(own.interval.low)}, ${share(own.interval.high)}]` : share(own.value);

function BiasPanel({ bias }) {
  const { flips, first, longer, length_controlled: controlled, repeats } = bias;
  const facts = [
    [
      "The winner turns round with the order",
      flips ? `${share(flips.flip_rate)} (${whole(flips.flips)} of ${whole(flips.n)})` : "judged in one order",
    ],
    [
      "The verdict changes with the order",
      flips ? `${share(flips.conflict_rate)} (${whole(flips.conflicts)} of ${whole(flips.n)})` : "judged in one order",
    ],
    ["The answer shown first wins", first ? withInterval(first.share) : "judged in one order"],
    ["The longer answer wins", withInterval(longer)],
    [
      "Win rate at equal length",
      controlled.win_rate === null
        ? `none: ${controlled.reason}`
        : withInterval({ value: controlled.win_rate, interval: controlled.interval }),
    ],
    [
      "Asked again, the judge says the same",
      repeats ? withInterval({ value: repeats.agreement, interval: repeats.interval }) : "asked once",
    ],
  ];
  return h(Panel, { title: "Bias" }, h(Facts, { facts }));
}

function Usage({ judging }) {
  const { usage, agreement } = judging;
  const models = Object.entries(usage.served_models ?? {}).map(([name, count]) => `${name} (${whole(count)})`);
  return h(
    Panel,
    { title: "Judge" },
    h(Facts, {
      facts: [
        ["Judge", judging.judge],
        ["Protocol", judging.signature],
        ["Status", judging.status],
        ["Replies", `${whole(usage.judgments)}, of which ${whole(judging.reused ?? 0)} taken over`],
        ["Tokens", `${whole(usage.prompt_tokens)} + ${whole(usage.completion_tokens)}`],
        ["Cost", usage.cost === null ? MISSING : `$${usage.cost.toFixed(4)}`],
        ["Answered by", models.join(", ") || MISSING],
        ...(agreement
          ? [
              [
                `Agreement with ${agreement.with}`,
                `κ = ${shown(agreement.kappa)}, ${share(agreement.observed)} alike of ${whole(agreement.n)}`,
              ],
            ]
          : []),
      ],
    }),
  );
}

const LENGTH_COLUMNS = [
  {
    key: "length",
    title: "Longer than the baseline's by (characters)",
    value: (row) => row.shortest,
    cell: (row) => `${signed(row.shortest, 0)} to ${signed(row.longest, 0)}`,
  },
  ...["win", "lose", "tie"].map((state) => ({
    key: state,
    title: words(state),
    isNumber: true,
    value: (row) => row.counts[state],
  })),
];

function LengthTable({ bins }) {
  if (!bins.length) return null;
  return h(
    Scrolled,
    { label: "Verdicts by length" },
    h(SortedTable, {
      caption: "Verdicts by length",
      columns: LENGTH_COLUMNS,
      rows: bins,
      rowKey: (row) => row.shortest,
    }),
  );
}

const CATEGORY_COLUMNS = [
  { key: "name", title: "Category", value: (row) => row.name, cell: (row) => words(row.name) },
  { key: "asked", title: "Asked", isNumber: true, value: (row) => row.asked },
  ...["win", "lose", "tie"].map((state) => ({
    key: state,
    title: words(state),
    isNumber: true,
    value: (row) => row.counts[state],
  })),
  {
    key: "rate",
    title: "Win rate, a tie is half",
    isNumber: true,
    value: (row) => row.win_rate,
    cell: (row) => share(row.win_rate),
  },
  { key: "unparsable", title: "Unparsable", isNumber: true, value: (row) => row.unparsable },
];

function CategoryTable({ categories }) {
  const rows = useMemo(() => Object.entries(categories).map(([name, own]) => ({ name, ...own })), [categories]);
  return h(
    Scrolled,
    { label: "Verdicts by category" },
    h(SortedTable, { caption: "Verdicts by category", columns: CATEGORY_COLUMNS, rows, rowKey: (row) => row.name }),
  );
}
