// What a judge was shown and what it replied, question by question.
import {
  Choice,
  counted,
  Facts,
  h,
  MISSING,
  Scrolled,
  shown,
  useEffect,
  useMemo,
  useRef,
  useState,
  words,
} from "./base.js";
import { readChunk } from "./store.js";
import { SortedTable } from "./table.js";
import { Text } from "./detail.js";

export function Transcripts({ run, judging }) {
  const [questions, setQuestions] = useState(null);
  const [state, setState] = useState("");
  const [openId, setOpen] = useState(null);
  useEffect(() => {
    readChunk(judging.transcripts).then(setQuestions);
  }, []);
  const rows = useMemo(
    () => (questions ?? []).filter((question) => !state || question.state === state),
    [questions, state],
  );
  const open = rows.find((question) => question.id === openId);
  const columns = useMemo(
    () => [
      {
        key: "id",
        title: "Question",
        value: (row) => row.id,
        cell: (row) => h("button", { type: "button", onClick: () => setOpen(row.id) }, `Open ${row.id}`),
      },
      { key: "category", title: "Category", value: (row) => row.category },
      { key: "state", title: "Verdict", value: (row) => row.state },
      { key: "judgments", title: "Replies", isNumber: true, value: (row) => row.judgments.length },
      {
        key: "text",
        title: "Text",
        value: (row) => row.question,
        cell: (row) => row.question.slice(0, 100) || MISSING,
      },
    ],
    [],
  );
  const states = [
    ["", "all"],
    ...[...new Set((questions ?? []).map((question) => question.state))].map((name) => [name, words(name)]),
  ];
  return h(
    "section",
    { "aria-label": "Transcripts" },
    h("h3", null, "Transcripts"),
    questions === null
      ? h("p", null, "Reading …")
      : h(
          "div",
          { class: "filters" },
          h(Choice, { label: "Verdict", value: state, options: states, onChange: setState }),
        ),
    h(
      "div",
      { class: open ? "browser open" : "browser" },
      h(
        Scrolled,
        { label: "Questions" },
        h(SortedTable, { caption: counted(rows.length, "question"), columns, rows, rowKey: (row) => row.id }),
      ),
      open && h(Transcript, { question: open, run, judging, onClose: () => setOpen(null), key: open.id }),
    ),
  );
}

function Transcript({ question, run, judging, onClose }) {
  const heading = useRef(null);
  useEffect(() => heading.current.focus({ preventScroll: true }), []);
  const onKeyDown = (event) => {
    if (event.key === "Escape") onClose();
  };
  return h(
    "section",
    { class: "detail", "aria-labelledby": "transcript-title", onKeyDown },
    h(
      "header",
      null,
      h(
        "h3",
        { id: "transcript-title", tabIndex: -1, ref: heading },
        `Question ${question.id}: ${question.state || "no verdict"}`,
      ),
      h("button", { type: "button", onClick: onClose }, "Close"),
    ),
    h("h4", null, "Question"),
    question.question
      ? h(Text, { text: question.question })
      : h("p", { class: "quiet" }, "Not at hand: the data is not here."),
    h(
      "div",
      { class: "sides" },
      h(
        "article",
        null,
        h("h4", null, run.name),
        question.candidate === null ? h("p", { class: "quiet" }, "Not stored.") : h(Text, { text: question.candidate }),
      ),
      h("article", null, h("h4", null, judging.baseline || "baseline"), h(Text, { text: question.baseline })),
    ),
    question.judgments.map((judgment) =>
      h(Judgment, { judgment, run, judging, key: `${judgment.order} ${judgment.repeat}` }),
    ),
  );
}

function Judgment({ judgment, run, judging }) {
  const first = judgment.order === "candidate-first" ? run.name : judging.baseline || "the baseline";
  const facts = [
    ["Verdict", words(judgment.state)],
    ["Scores", judgment.scores ? judgment.scores.map((score) => shown(score)).join(" and ") : MISSING],
    ["Read", judgment.confidence === "low" ? "from a spelling that deserves a second look" : "plainly"],
    ...(judgment.finish ? [["Ended by", judgment.finish]] : []),
    ...(judgment.cut ? [["Not shown to the judge", counted(judgment.cut, "token")]] : []),
  ];
  const again = judgment.repeat ? `, asked again (${judgment.repeat})` : "";
  return h(
    "article",
    null,
    h("h4", null, `Reply with ${first} shown first${again}`),
    h(Facts, { facts }),
    h(Text, { text: judgment.reply }),
  );
}
