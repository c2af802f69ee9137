// Instances as pictures: images, curves of a series, rows of a table, and residual maps.
import { breakable, make, number } from './dom.js';

// From zero to the maximum, readable with red-green blindness: pale, orange, dark violet.
const HEAT = [[255, 252, 235], [254, 204, 120], [240, 120, 60], [150, 40, 90], [50, 10, 80]];
const CURVE = '#005a93';
const MAX_PANELS = 8; // channels of a window that are drawn

function heatAt(share) {
  const at = Math.min(Math.max(share, 0), 1) * (HEAT.length - 1);
  const low = Math.min(Math.floor(at), HEAT.length - 2);
  return HEAT[low].map((value, i) => Math.round(value + (at - low) * (HEAT[low + 1][i] - value)));
}

function canvasOf(rows, colour) {
  const canvas = make('canvas', { className: 'pixels', width: rows[0].length, height: rows.length });
  const context = canvas.getContext('2d');
  const pixels = context.createImageData(canvas.width, canvas.height);
  rows.flat().forEach((value, at) => pixels.data.set([...colour(value), 255], 4 * at));
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// An image as the service takes it: values from 0 to a maximum, grey or with channels last.
export function imagePicture(image, schema) {
  const maximum = schema.schema.dtype === 'uint8' ? 255 : 1;
  const colours = schema.schema.shape.length === 3;
  const rows = colours ? image.map((row) => row.map((pixel) => ({ pixel }))) : image;
  return canvasOf(rows, (value) => {
    const channels = colours ? value.pixel : [value];
    const [r, g, b] = channels.length >= 3 ? channels : [channels[0], channels[0], channels[0]];
    return [r, g, b].map((one) => Math.round((255 * one) / maximum));
  });
}

export function heatPicture(residual) {
  const rows = residual.map((row) => row.map((value) => (Array.isArray(value) ? sum(value) : value)));
  const maximum = Math.max(...rows.flat(), 1e-12);
  return canvasOf(rows, (value) => heatAt(value / maximum));
}

// Names of the channels of a window.
export function channelsOf(schema) {
  const [, n] = schema.schema.shape;
  const [points] = Object.values(schema.points ?? {});
  const names = points?.channels ?? schema.schema.columns;
  return Array.from({ length: n ?? 1 }, (_, at) => names?.[at] ?? `channel ${at}`);
}

// A window of a series: a panel for each channel on its own scale, with its name where names are
// given, and a strip of the residual below.
export function curvePicture(window, { rebuilt = null, residual = null, names = null } = {}) {
  const n = Math.min(window[0].length, MAX_PANELS);
  const [width, head] = [320, names ? 15 : 0];
  const panel = names ? 64 : Math.max(18, 120 / n);
  const height = n * (panel + head);
  const more = names && window[0].length > n ? 15 : 0;
  const strip = residual ? 12 : 0;
  const drawing = svg('svg', { viewBox: `0 0 ${width} ${height + strip + more}`, class: 'curve' });
  const x = (at) => (window.length > 1 ? (at / (window.length - 1)) * (width - 8) + 4 : width / 2);
  for (let channel = 0; channel < n; channel++) {
    const values = [window, ...(rebuilt ? [rebuilt] : [])].flatMap((steps) => steps.map((step) => step[channel])).filter((value) => value !== null);
    const [low, high] = ends(values);
    const top = channel * (panel + head) + head;
    const y = (value) => top + panel - 4 - ((value - low) / (high - low || 1)) * (panel - 8);
    const line = (steps, dashed) => svg('polyline', {
      points: steps.map((step, at) => [step[channel], at]).filter(([value]) => value !== null).map(([value, at]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' '),
      stroke: dashed ? '#1d2025' : CURVE,
      ...(dashed ? { 'stroke-dasharray': '4 3' } : {}),
    });
    drawing.append(line(window, false));
    if (rebuilt) drawing.append(line(rebuilt, true));
    if (names) {
      const words = svg('text', { x: 4, y: top - 3 });
      words.textContent = `${names[channel]}, ${number(low)} to ${number(high)}`;
      drawing.append(words);
    }
  }
  if (residual) {
    const totals = residual.map(sum);
    const maximum = Math.max(...totals, 1e-12);
    const step = width / totals.length;
    totals.forEach((total, at) => drawing.append(svg('rect', { x: at * step, y: height, width: step + 0.5, height: strip, fill: `rgb(${heatAt(total / maximum)})` })));
  }
  if (more) {
    const words = svg('text', { x: 4, y: height + strip + 12 });
    words.textContent = `The first ${n} of ${window[0].length} channels.`;
    drawing.append(words);
  }
  return drawing;
}

function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

// A row of a table as a list of names and values, at most the first few.
export function rowPicture(row, limit = 8) {
  const entries = Object.entries(row);
  const list = make('dl', { className: 'values' });
  for (const [name, value] of entries.slice(0, limit)) list.append(make('div', {}, make('dt', {}, breakable(name)), make('dd', {}, shown(value))));
  if (entries.length > limit) list.append(make('div', {}, make('dt', {}, `and ${entries.length - limit} more`), make('dd')));
  return list;
}

export function shown(value) {
  if (value === null) return 'missing';
  if (value === true || value === false) return value ? 'yes' : 'no';
  return typeof value === 'number' ? number(value) : String(value);
}

export function picture(instance, schema) {
  if (schema.kind === 'images') return imagePicture(instance, schema);
  if (schema.kind === 'series') return curvePicture(instance);
  return rowPicture(named(instance, schema));
}

// A row as an object by name; columns without names are numbered.
export function named(instance, schema) {
  if (!Array.isArray(instance)) return instance;
  return Object.fromEntries(instance.map((value, at) => [`column ${at}`, value]));
}

export function framed(content, caption) {
  return make('figure', {}, content, make('figcaption', {}, caption));
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

function svg(name, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
