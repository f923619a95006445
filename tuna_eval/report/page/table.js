// A table whose columns sort it. For some hundred rows; samples are shown by the grid.
import { h, say, useMemo, useState } from "./base.js";

// Numbers by size, all else as words; what is missing comes last, whichever way.
export function compareCells(a, b, direction) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order =
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });
  return direction * order;
}

// columns: { key, title, value(row), cell(row) (default: the value), isNumber }; the first names the row.
export function SortedTable({ caption, columns, rows, rowKey }) {
  const [sort, setSort] = useState({ key: null, direction: 1 });
  const sorted = useMemo(() => {
    const column = columns.find((each) => each.key === sort.key);
    if (!column) return rows;
    return [...rows].sort((a, b) => compareCells(column.value(a), column.value(b), sort.direction));
  }, [rows, columns, sort]);

  function toggle(column) {
    const first = column.isNumber ? -1 : 1; // the best number first
    const direction = sort.key === column.key ? -sort.direction : first;
    setSort({ key: column.key, direction });
    say(`${caption}: sorted by ${column.title}, ${direction > 0 ? "ascending" : "descending"}`);
  }

  const heads = columns.map((column) => {
    const own = sort.key === column.key ? { 1: "ascending", "-1": "descending" }[sort.direction] : "none";
    const mark = h("span", { "aria-hidden": "true" }, { ascending: " ▲", descending: " ▼", none: "" }[own]);
    const button = h("button", { type: "button", onClick: () => toggle(column) }, column.title, mark);
    return h(
      "th",
      { scope: "col", "aria-sort": own, class: column.isNumber ? "number" : null, key: column.key },
      button,
    );
  });
  const lines = sorted.map((row) =>
    h(
      "tr",
      { key: rowKey(row) },
      columns.map((column, index) => cellOf(column, row, index)),
    ),
  );
  return h("table", null, h("caption", null, caption), h("thead", null, h("tr", null, heads)), h("tbody", null, lines));
}

function cellOf(column, row, index) {
  const text = (column.cell ?? column.value)(row);
  if (index === 0) return h("th", { scope: "row", key: column.key }, text);
  return h("td", { class: column.isNumber ? "number" : column.className, key: column.key }, text);
}
