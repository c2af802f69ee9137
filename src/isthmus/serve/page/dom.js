// Elements built in one expression, and numbers as text. Text is never parsed as markup.

export const $ = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return '–';
  if (typeof value !== 'number') return String(value);
  if (Number.isInteger(value)) return value.toLocaleString('en');
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return value.toLocaleString('en', { maximumSignificantDigits: Math.max(digits, Math.ceil(Math.log10(size + 1))) });
}

export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.01) return 'under 0.01 %';
  if (value > 99.99 && value < 100) return 'over 99.99 %';
  return `${value.toLocaleString('en', { maximumSignificantDigits: value >= 99 && value < 100 ? 4 : 2 })} %`;
}

// A table that becomes one block a row where the window is narrow: each cell says its column.
export function stacked(table) {
  table.classList.add('records');
  table.setAttribute('role', 'table');
  for (const part of table.querySelectorAll('thead, tbody')) part.setAttribute('role', 'rowgroup');
  const heads = [...table.tHead.rows[0].cells];
  for (const head of heads) if (head.textContent.trim()) head.setAttribute('role', 'columnheader');
  for (const row of table.rows) row.setAttribute('role', 'row');
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, at) => {
      cell.setAttribute('role', cell.localName === 'th' ? 'rowheader' : 'cell');
      cell.dataset.label = heads[at].textContent.trim();
      const n = cell.textContent.trim().length;
      if (n > 16) cell.classList.add('long');
      if (n <= 20) cell.classList.add('word');
    });
  }
  return table;
}

const MAX_UNBROKEN = 22; // characters of a name that stays on one line

// A name: a short one does not break, a long one after its underscores.
export function breakable(name) {
  if (name.length <= MAX_UNBROKEN) return make('span', { className: 'word' }, name);
  return make('span', {}, ...name.split(/(?<=_)/).flatMap((part) => [part, document.createElement('wbr')]));
}
