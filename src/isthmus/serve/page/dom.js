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
