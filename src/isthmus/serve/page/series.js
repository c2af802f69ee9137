// A series over time: its channels and scores with the alarms shaded, and a table of the alarms.
import { $, make, number, percent, stacked } from './dom.js';
import { writeCsv } from './csv.js';

const [LEFT, RIGHT, PANEL, GAP, FOOT] = [64, 10, 84, 22, 30]; // pixels
const MAX_ROWS = 200; // alarms in the table
const MARGIN = 0.6; // of the length of an alarm that is enlarged, or of a window, on either side
const MAX_RATIO = 10; // of the highest score to the threshold, without a logarithmic axis
const MAX_STEP = 1.5; // usual steps: a longer one is a gap

// Whether the records of a CSV file are a row a time point, and not a window.
export function isLongTable(records, schema) {
  const [head] = Object.values(schema.points ?? {});
  if (!head?.channels) return false;
  const isWindow = records.length === head.window + 1 && records[0].length === head.channels.length;
  return !isWindow && head.channels.some((name) => records[0].includes(name));
}

export class Series {
  constructor(schema, bundle) {
    Object.assign(this, { schema, bundle });
    [[this.name, this.head] = []] = Object.entries(schema.points);
    $('series-whole').onclick = () => this.enlarge(null);
    $('series-group').onchange = () => this.choose(Number($('series-group').value));
    $('points-csv').onclick = () => this.save('points.csv', this.pointRows());
    $('alarms-csv').onclick = () => this.save('alarms.csv', this.alarmRows());
    this.observer = new ResizeObserver(() => { if (this.shown) this.draw(); });
    this.observer.observe($('series-chart'));
  }

  introduction() {
    const { facts, channels } = this.head;
    const rate = facts.false_alarms ? `asked to give ${facts.false_alarms} of false alarms at most` : `at a false-alarm rate of ${percent(facts.false_alarm_rate)} of the time points`;
    return `Input: a series of ${channels.join(', ')}. Decision: which time points are not normal, and the alarms, ${rate}.`;
  }

  close() { this.observer.disconnect(); }

  async decide({ file, records }) {
    $('series').hidden = false;
    $('series-results').hidden = true;
    $('series-status').textContent = 'Deciding…';
    try {
      this.answer = await this.bundle.points(file, this.name);
    } catch (error) {
      $('series').hidden = true;
      throw error;
    }
    const [header, ...rows] = records;
    const places = this.head.channels.map((name) => header.indexOf(name));
    this.readings = places.map((place) => rows.map((row) => (row[place]?.trim() ? Number(row[place]) : NaN)));
    const { points } = this.answer;
    this.scores = points.anomaly_score.map((score) => score ?? NaN);
    this.time = this.head.time_column in points ? this.head.time_column : 'row';
    this.groupColumns = this.head.group_columns.filter((name) => name in points);
    this.groups = this.groupRows();
    $('series-results').hidden = false;
    $('series-group').replaceChildren(...this.groups.map(({ title }, at) => make('option', { value: at }, title)));
    $('series-choose').hidden = this.groups.length < 2;
    this.showStatus();
    this.showTable();
    const first = this.answer.alarms.length ? this.groups.findIndex(({ title }) => title === this.titleOf(this.answer.alarms[0])) : 0;
    this.choose(Math.max(0, first));
    $('series-title').scrollIntoView({ block: 'start' });
  }

  titleOf(row) {
    return this.groupColumns.map((name) => String(row[name])).join(', ');
  }

  // Of each group its rows, their places on the axis, the usual step, and its alarms.
  groupRows() {
    const { points, alarms } = this.answer;
    const found = new Map();
    points.verdict.forEach((_, at) => {
      const title = this.groupColumns.map((name) => String(points[name][at])).join(', ');
      if (!found.has(title)) found.set(title, []);
      found.get(title).push(at);
    });
    return [...found].map(([title, rows]) => {
      const words = rows.map((at) => points[this.time][at]);
      const places = words.map(placeOf);
      const x = places.some(Number.isNaN) ? words.map((_, at) => at) : places;
      const steps = x.slice(1).map((place, at) => place - x[at]).sort((a, b) => a - b);
      const step = steps[Math.floor(steps.length / 2)] || 1;
      const place = new Map(words.map((word, at) => [word, x[at]]));
      const own = alarms.filter((alarm) => this.titleOf(alarm) === title).map((alarm) => ({ ...alarm, from: place.get(alarm.first) - step / 2, to: place.get(alarm.last) + step / 2 }));
      return { title, rows, words, x, step, alarms: own };
    });
  }

  choose(at) {
    $('series-group').value = at;
    this.shown = this.groups[at];
    this.enlarge(null);
  }

  // Shows a stretch of the series around an alarm; without one all of it.
  enlarge(alarm) {
    const { x, step } = this.shown;
    const [first, last] = [x[0] - step / 2, x.at(-1) + step / 2];
    const room = alarm && MARGIN * Math.max(alarm.to - alarm.from, this.head.window * step);
    this.view = alarm ? [Math.max(first, alarm.from - room), Math.min(last, alarm.to + room)] : [first, last];
    $('series-whole').hidden = !alarm;
    this.draw();
  }

  showStatus() {
    const { points, alarms, warnings } = this.answer;
    const n = points.verdict.length;
    const decided = points.verdict.filter((word) => word !== null).length;
    const abnormal = points.verdict.filter((word) => word === 'abnormal').length;
    const counted = `${count(n, 'time point')} of ${count(this.head.channels.length, 'channel')}: ${count(alarms.length, 'alarm')}`;
    const without = decided < n ? ` ${count(n - decided, 'time point')} could not be scored, because no window covers ${n - decided === 1 ? 'it' : 'them'}.` : '';
    $('series-status').textContent = `${counted}, ${abnormal.toLocaleString('en')} time points not normal (${percent(abnormal / Math.max(1, decided))}).${without}`;
    $('series-how').textContent = howOften(this.head);
    $('series-notes').textContent = warnings.join('. ');
    $('series-notes').hidden = !warnings.length;
  }

  showTable() {
    const { alarms } = this.answer;
    const columns = ['Alarm', ...this.groupColumns, 'First', 'Last', 'Time points', 'Known at', 'Worst channel', 'Share', 'Score', 'p-value'];
    const numbers = ['Time points', 'Share', 'Score', 'p-value'];
    const head = make('tr', {}, ...columns.map((title) => make('th', { scope: 'col', className: numbers.includes(title) ? 'n' : '' }, title)));
    const body = alarms.slice(0, MAX_ROWS).map((alarm, at) => {
      const button = make('button', { type: 'button', className: 'link', onclick: () => this.open(at) }, `Show ${at + 1}`);
      const cells = [...this.groupColumns.map((name) => alarm[name]), alarm.first, alarm.last];
      const values = [number(alarm.n_points), String(alarm.known_at), alarm.channel, percent(alarm.share), number(alarm.anomaly_score), number(alarm.p_value)];
      const plain = [...cells.map(String), ...values];
      return make('tr', {}, make('td', {}, button), ...plain.map((value, i) => make('td', { className: numbers.includes(columns[i + 1]) ? 'n' : '' }, value)));
    });
    $('alarms').replaceChildren(make('thead', {}, head), make('tbody', {}, ...body));
    stacked($('alarms'));
    $('alarms').closest('.scroll').hidden = !alarms.length;
    $('alarms-none').hidden = alarms.length > 0;
    $('alarms-more').hidden = alarms.length <= MAX_ROWS;
    $('alarms-more').textContent = `The first ${MAX_ROWS} of ${alarms.length.toLocaleString('en')} alarms; the file has all.`;
  }

  open(at) {
    const alarm = this.answer.alarms[at];
    this.choose(this.groups.findIndex(({ title }) => title === this.titleOf(alarm)));
    this.enlarge(this.shown.alarms.find(({ first }) => first === alarm.first));
    $('series-chart').scrollIntoView({ block: 'nearest' });
  }

  draw() {
    const width = Math.max(280, $('series-chart').clientWidth);
    const { channels } = this.head;
    // By group each has its own; one that was not there at fit is decided by that of all.
    const own = this.head.groups?.find(({ name }) => name === this.shown.title);
    const threshold = own?.threshold ?? this.head.threshold;
    const panels = channels.map((title, at) => ({ title, values: this.readings[at] }));
    if (this.readings[0].length !== this.scores.length) panels.length = 0; // rows were left out
    panels.push({ title: 'anomaly score', values: this.scores, threshold });
    const height = panels.length * (PANEL + GAP) + FOOT;
    const { alarms, title } = this.shown;
    const told = `${title ? `${title}: ` : ''}${channels.join(', ')} and anomaly score over time, with ${count(alarms.length, 'alarm')}`;
    const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'series', role: 'img', 'aria-label': told });
    panels.forEach((panel, at) => drawing.append(...this.panel(panel, at * (PANEL + GAP) + GAP, width)));
    drawing.append(...this.axis(height - FOOT, width));
    $('series-chart').replaceChildren(drawing);
  }

  panel({ title, values, threshold }, top, width) {
    const { rows, x, step, alarms } = this.shown;
    const [from, to] = this.view;
    const across = (place) => LEFT + ((place - from) / (to - from)) * (width - LEFT - RIGHT);
    let [low, high] = [threshold ?? Infinity, threshold ?? -Infinity];
    const within = [];
    x.forEach((place, at) => {
      if (place < from || place > to) return;
      within.push(at);
      const value = values[rows[at]];
      if (value < low) low = value;
      if (value > high) high = value;
    });
    if (low > high) [low, high] = [0, 1];
    // Beside scores far above the threshold all others would be flat.
    const logarithmic = threshold > 0 && low > 0 && high > MAX_RATIO * threshold;
    const scale = logarithmic ? Math.log : (value) => value;
    const down = (value) => top + PANEL - 3 - ((scale(value) - scale(low)) / (scale(high) - scale(low) || 1)) * (PANEL - 6);
    const parts = [svg('rect', { x: LEFT, y: top, width: width - LEFT - RIGHT, height: PANEL, class: 'ground' })];
    for (const alarm of alarms) {
      const [left, right] = [Math.max(LEFT, across(alarm.from)), Math.min(width - RIGHT, across(alarm.to))];
      if (right <= left) continue;
      const box = { x: left, width: Math.max(1.5, right - left) };
      const shade = svg('rect', { ...box, y: top, height: PANEL, class: 'alarm' });
      shade.append(svg('title', {}, `${alarm.first} to ${alarm.last}, worst channel ${alarm.channel}`));
      parts.push(shade);
      if (alarm.channel === title) parts.push(svg('rect', { ...box, y: top - 4, height: 4, class: 'worst' }));
    }
    parts.push(svg('path', { d: path(within, x, (at) => values[rows[at]], across, down, step, width), class: 'line' }));
    if (threshold !== undefined) parts.push(svg('line', { x1: LEFT, x2: width - RIGHT, y1: down(threshold), y2: down(threshold), class: 'threshold' }));
    const label = (words, y, more = {}) => svg('text', { x: LEFT - 6, y, 'text-anchor': 'end', ...more }, words);
    parts.push(label(number(high), top + 11), label(number(low), top + PANEL - 2));
    parts.push(svg('text', { x: LEFT, y: top - 7, class: 'name' }, title + (threshold === undefined ? '' : `, threshold ${number(threshold)}${logarithmic ? ', logarithmic' : ''}`)));
    return parts;
  }

  axis(top, width) {
    const { x, words } = this.shown;
    const [from, to] = this.view;
    const inside = words.filter((_, at) => x[at] >= from && x[at] <= to);
    const places = width < 560 ? [0, 1] : [0, 0.5, 1];
    return places.map((share) => {
      const word = inside[Math.round(share * (inside.length - 1))] ?? '';
      const anchor = { 0: 'start', 0.5: 'middle', 1: 'end' }[share];
      return svg('text', { x: LEFT + share * (width - LEFT - RIGHT), y: top + 18, 'text-anchor': anchor }, this.time === 'row' ? `row ${word}` : String(word));
    });
  }

  pointRows() {
    const { points, shares } = this.answer;
    const columns = { ...points, ...Object.fromEntries(Object.entries(shares).map(([name, values]) => [`share_${name}`, values])) };
    return [Object.keys(columns), ...points.verdict.map((_, at) => Object.values(columns).map((values) => values[at]))];
  }

  alarmRows() {
    const names = [...this.groupColumns, 'first', 'last', 'peak', 'n_points', 'known_at', 'channel', 'share', 'anomaly_score', 'p_value'];
    return [names, ...this.answer.alarms.map((alarm) => names.map((name) => alarm[name]))];
  }

  save(name, rows) {
    const address = URL.createObjectURL(new Blob([writeCsv(rows)], { type: 'text/csv' }));
    make('a', { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

// A line through values, broken at gaps; of many the lowest and the highest at each pixel.
function path(within, x, value, across, down, step, width) {
  const many = within.length > 2 * width;
  let [drawn, pixel, low, high, last, broken] = ['', null, NaN, NaN, null, true];
  const go = (left, y) => { drawn += `${broken ? 'M' : 'L'}${left.toFixed(1)} ${down(y).toFixed(1)}`; broken = false; };
  const flush = () => {
    if (pixel === null) return;
    go(pixel, low);
    go(pixel, high);
    pixel = null;
  };
  for (const at of within) {
    const own = value(at);
    if (Number.isNaN(own) || (last !== null && x[at] - x[last] > MAX_STEP * step)) { flush(); broken = true; }
    if (Number.isNaN(own)) continue;
    last = at;
    const left = across(x[at]);
    if (!many) { go(left, own); continue; }
    if (pixel !== Math.round(left)) { flush(); [pixel, low, high] = [Math.round(left), own, own]; }
    [low, high] = [Math.min(low, own), Math.max(high, own)];
  }
  flush();
  return drawn;
}

// Times as numbers: numbers as they are, dates as milliseconds; those without a zone as UTC.
function placeOf(word) {
  if (typeof word === 'number') return word;
  const plain = String(word).trim().replace(' ', 'T');
  return Date.parse(/[zZ]$|[+-]\d\d:?\d\d$/.test(plain) || plain.length < 11 ? plain : `${plain}Z`);
}

// What was asked for at fit, and what was measured on normal data held out.
function howOften({ facts, window, causal }) {
  const measured = facts.realised?.realised;
  const asked = facts.false_alarms ? `false alarms, asked for at fit: ${facts.false_alarms}` : `share of normal time points above the threshold, asked for at fit: ${percent(facts.false_alarm_rate)}`;
  const found = facts.false_alarms ? `${number(facts.n_alarms_held_out)} in ${number(facts.n_held_out)} normal time points held out` : `${percent(measured ?? NaN)} of ${number(facts.n_held_out)} normal time points held out`;
  const known = causal ? 'An alarm is known at once.' : `A time point is scored by the windows of ${window} time points that cover it, so an alarm is known up to a window later.`;
  return `${asked[0].toUpperCase()}${asked.slice(1)}; measured: ${found}. ${known}`;
}

function count(n, what) {
  return `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`;
}

function svg(name, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
