// Forms to type a row or a window: one field for each column, or numbers in a text area.
import { make } from './dom.js';

const MAX_FIELDS = 60;

// Returns get(), the instance as the service takes it, which throws an error to show, and
// set(instance).
export function makeForm(form, schema, changed) {
  form.replaceChildren();
  form.onsubmit = (event) => event.preventDefault();
  const columns = columnsOf(schema);
  if (schema.kind === 'table' && columns.length <= MAX_FIELDS) return rowForm(form, columns, schema, changed);
  return numbersForm(form, columns, schema, changed);
}

export function columnsOf(schema) {
  if (schema.kind !== 'table') return [];
  const { columns, column_types: types, shape } = schema.schema;
  return Array.from({ length: shape[0] }, (_, at) => ({
    name: columns?.[at] ?? `column ${at}`,
    type: types?.[at].type ?? 'number',
    categories: types?.[at].categories ?? [],
  }));
}

// One cell of text as the value of a column; empty is missing.
export function cellOf(text, column) {
  const plain = text.trim();
  if (plain === '') return null;
  if (column.type === 'category') return column.categories.find((category) => String(category) === plain) ?? plain;
  if (column.type === 'boolean') {
    if (/^(true|yes|1)$/i.test(plain)) return true;
    if (/^(false|no|0)$/i.test(plain)) return false;
    throw new Error(`Got ${plain} in ${column.name}, expected true or false.`);
  }
  if (column.type === 'date') return plain;
  const value = Number(plain);
  if (!Number.isFinite(value)) throw new Error(`Got ${plain} in ${column.name}, expected a number such as 1.5.`);
  return value;
}

export function rowOf(cells, columns, schema) {
  const values = columns.map((column, at) => cellOf(cells[at] ?? '', column));
  return schema.schema.columns ? Object.fromEntries(columns.map(({ name }, at) => [name, values[at]])) : values;
}

function rowForm(form, columns, schema, changed) {
  const fields = columns.map((column, at) => {
    const id = `field-${at}`;
    const choices = { boolean: ['true', 'false'], category: column.categories.map(String) }[column.type];
    const field = choices && choices.length <= 200
      ? make('select', { id }, make('option', { value: '' }, 'missing'), ...choices.map((one) => make('option', { value: one }, one)))
      : make('input', { id, type: 'text', placeholder: 'missing', autocomplete: 'off', ...(column.type === 'number' ? { inputmode: 'decimal' } : {}) });
    field.addEventListener(field.localName === 'select' ? 'change' : 'input', changed);
    form.append(make('p', { className: 'field' }, make('label', { htmlFor: id }, column.name), field));
    return field;
  });
  return {
    get() {
      fields.forEach((field) => field.removeAttribute('aria-invalid'));
      columns.forEach((column, at) => {
        try {
          cellOf(fields[at].value, column);
        } catch (error) {
          fields[at].setAttribute('aria-invalid', 'true');
          throw error;
        }
      });
      return rowOf(fields.map((field) => field.value), columns, schema);
    },
    set(instance) {
      const values = Array.isArray(instance) ? instance : columns.map(({ name }) => instance[name]);
      values.forEach((value, at) => {
        const text = textOf(value);
        const field = fields[at];
        // A category that was never seen can be asked about as well.
        if (field.localName === 'select' && ![...field.options].some((option) => option.value === text)) field.append(make('option', { value: text }, text));
        field.value = text;
      });
    },
  };
}

// What comes from a decoder has the seven digits of a float32, and no more are shown.
function textOf(value) {
  if (value === null || value === undefined) return '';
  return String(typeof value === 'number' && Math.fround(value) === value ? Number(value.toPrecision(7)) : value);
}

// One line a step of a window, its channels side by side; of a wide table one line in all.
function numbersForm(form, columns, schema, changed) {
  const shape = schema.schema.shape;
  const [lines, width] = schema.kind === 'series' ? shape : [1, columns.length];
  const what = schema.kind === 'series'
    ? `${Object.keys(schema.points ?? {}).length ? 'Or a window: ' : ''}${lines} steps${width > 1 ? ` of ${width} channels, a line each` : ', with blanks or commas between'}`
    : `${width} values in the order of the columns, with commas between; nothing between two is missing`;
  const area = make('textarea', { id: 'numbers', rows: 6, spellcheck: false, oninput: changed });
  form.append(make('p', { className: 'field wide' }, make('label', { htmlFor: 'numbers' }, what), area));
  return {
    get() {
      if (schema.kind === 'table') {
        const cells = area.value.trim().split(',');
        if (cells.length !== width) throw new Error(`Got ${cells.length} values, expected ${width}.`);
        return rowOf(cells, columns, schema);
      }
      return windowOf(area.value, lines, width);
    },
    set(instance) {
      const plain = Array.isArray(instance) ? instance : Object.values(instance);
      area.value = schema.kind === 'series'
        ? plain.map((step) => step.map(textOf).join(' ')).join(width > 1 ? '\n' : ' ')
        : plain.map(textOf).join(',');
    },
  };
}

export function windowOf(text, lines, width) {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  const values = words.map(Number);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new Error(`Got ${words[bad]}, expected numbers such as 1.5.`);
  if (values.length !== lines * width) throw new Error(`Got ${values.length} numbers, expected ${lines * width}: ${lines} steps of ${width}.`);
  return Array.from({ length: lines }, (_, at) => values.slice(at * width, (at + 1) * width));
}
