// A list of any length of which only what is seen is in the page. All rows are equally high, so that what is seen
// follows from where the list is scrolled to.
import { h, useEffect, useLayoutEffect, useRef, useState } from "./base.js";

export const ROW_HEIGHT = 34;
const BEYOND = 6; // rows kept above and below what is seen

// columns: { key, title, width, cell(row), isNumber }; rows: keys of samples; active: a position in rows.
export function Grid({ label, columns, rows, active, onActive, onOpen, onSeen }) {
  const scroller = useRef(null);
  const [seen, setSeen] = useState({ first: 0, count: 30 });

  function measure() {
    const { scrollTop, clientHeight } = scroller.current;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - BEYOND);
    const count = Math.ceil(clientHeight / ROW_HEIGHT) + 2 * BEYOND;
    setSeen((now) => (now.first === first && now.count === count ? now : { first, count }));
  }
  useLayoutEffect(() => {
    const observer = new ResizeObserver(measure);
    observer.observe(scroller.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    // another list begins at its top
    scroller.current.scrollTop = 0;
    measure();
  }, [rows]);
  useLayoutEffect(() => scrollTo(scroller.current, active), [active]);

  const last = Math.min(rows.length, seen.first + seen.count);
  const shown = rows.slice(seen.first, last);
  useEffect(() => {
    const timer = setTimeout(() => onSeen(shown), 60); // while the list flies past, nothing is decoded
    return () => clearTimeout(timer);
  }, [rows, seen.first, seen.count]);

  const page = () => Math.max(1, Math.floor(scroller.current.clientHeight / ROW_HEIGHT) - 2);
  function onKeyDown(event) {
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page(),
      PageUp: -page(),
      Home: -rows.length,
      End: rows.length,
    };
    if (event.key in steps) onActive(clamp(active + steps[event.key], rows.length));
    else if (event.key === "Enter" || event.key === " ") onOpen(active);
    else return;
    event.preventDefault();
  }

  const template = columns.map((column) => column.width).join(" ");
  const heads = columns.map((column, index) =>
    h(
      "div",
      { role: "columnheader", "aria-colindex": index + 1, class: column.isNumber ? "number" : null, key: column.key },
      column.title,
    ),
  );
  const lines = shown.map((row, offset) =>
    h(Line, {
      row,
      position: seen.first + offset,
      columns,
      template,
      isActive: seen.first + offset === active,
      onActive,
      onOpen,
      key: seen.first + offset,
    }),
  );
  return h(
    "div",
    {
      class: "grid",
      role: "grid",
      id: "samples-grid",
      tabIndex: 0,
      ref: scroller,
      "aria-label": label,
      "aria-rowcount": rows.length + 1,
      "aria-colcount": columns.length,
      "aria-activedescendant": last > active && active >= seen.first ? `row-${active}` : null,
      onScroll: measure,
      onKeyDown,
    },
    h(
      "div",
      { role: "rowgroup", class: "head" },
      h("div", { role: "row", "aria-rowindex": 1, class: "row", style: { gridTemplateColumns: template } }, heads),
    ),
    h("div", { role: "rowgroup", class: "lines", style: { height: `${rows.length * ROW_HEIGHT}px` } }, lines),
  );
}

function Line({ row, position, columns, template, isActive, onActive, onOpen }) {
  const cells = columns.map((column, index) =>
    h(
      "div",
      { role: "gridcell", "aria-colindex": index + 1, class: column.isNumber ? "number" : null, key: column.key },
      column.cell(row),
    ),
  );
  const style = { gridTemplateColumns: template, transform: `translateY(${position * ROW_HEIGHT}px)` };
  const onClick = () => {
    onActive(position);
    onOpen(position);
  };
  return h(
    "div",
    {
      role: "row",
      id: `row-${position}`,
      "aria-rowindex": position + 2,
      "aria-selected": isActive ? "true" : "false",
      class: "row line",
      style,
      onClick,
    },
    cells,
  );
}

export const clamp = (position, length) => Math.max(0, Math.min(length - 1, position));

// As little as needed to see the row below the head.
function scrollTo(element, position) {
  const top = position * ROW_HEIGHT;
  const room = element.clientHeight - 2 * ROW_HEIGHT;
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top > element.scrollTop + room) element.scrollTop = top - room;
}
