// Tables: one block a row where the window is narrow, rows that are folded, and sorting by a column.
// The style has the same number of rows that stay visible.
const MAX_ROWS = 12;
// Characters of a cell that has another beside it where the window is narrow.
const MAX_SHORT = 16;

for (const table of document.querySelectorAll("table.records")) {
  const heads = [...table.tHead.rows[0].cells], rows = [...table.tBodies[0].rows];
  // A row that is drawn as a block is no row for assistive technology unless it says so.
  table.setAttribute("role", "table");
  for (const part of table.querySelectorAll("thead, tbody")) part.setAttribute("role", "rowgroup");
  for (const head of heads) if (head.textContent.trim()) head.setAttribute("role", "columnheader");
  for (const row of table.rows) row.setAttribute("role", "row");
  for (const row of rows) {
    let at = 0;
    for (const cell of row.cells) {
      cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
      cell.dataset.label = heads[at].textContent.trim();
      at += cell.colSpan;
      if (cell.textContent.trim().length > MAX_SHORT) cell.classList.add("long");
      if (cell.childNodes.length > 1) {
        const whole = document.createElement("span");
        whole.append(...cell.childNodes);
        cell.append(whole);
      }
    }
  }
  const place = table.closest(".scroll");
  if (rows.length > MAX_ROWS) {
    table.classList.add("folded");
    const all = Object.assign(document.createElement("button"), { type: "button", className: "all", textContent: `Show all ${rows.length.toLocaleString("en")} rows` });
    all.addEventListener("click", () => { table.classList.remove("folded"); all.remove(); });
    place.after(all);
  }
  if (table.classList.contains("sortable") && rows.length > 1) makeSortable(table, heads, place);
}

function makeSortable(table, heads, place) {
  const body = table.tBodies[0], collator = new Intl.Collator("en", { numeric: true });
  const key = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();
  const sort = (at) => {
    const up = heads[at].getAttribute("aria-sort") === "descending" || (!heads[at].hasAttribute("aria-sort") && !heads[at].classList.contains("n"));
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[at].setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = [...body.rows].map((row) => [key(row, at), row]);
    const numeric = keyed.every(([value]) => value === "" || Number.isFinite(Number(value)));
    const compare = numeric ? (a, b) => Number(a) - Number(b) : collator.compare;
    keyed.sort(([a], [b]) => (a === "") - (b === "") || (up ? 1 : -1) * compare(a, b));
    body.append(...keyed.map(([, row]) => row));
  };
  const select = document.createElement("select"), label = document.createElement("label");
  heads.forEach((head, at) => {
    const words = head.textContent.trim();
    if (!words) return;
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    button.addEventListener("click", () => { sort(at); select.value = at; });
    head.replaceChildren(button);
    select.append(new Option(words, at, head.hasAttribute("aria-sort"), head.hasAttribute("aria-sort")));
  });
  select.addEventListener("change", () => { heads[select.value].removeAttribute("aria-sort"); sort(Number(select.value)); });
  label.append("Sort by ", select);
  const line = Object.assign(document.createElement("p"), { className: "sorter" });
  line.append(label);
  place.before(line);
}
