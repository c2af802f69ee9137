// Many instances: a table to sort, verdicts that follow the slider, and a download as CSV.
import { $, make, number, percent, stacked } from './dom.js';
import { slider } from './answer.js';
import { classOf, headsOf, isNormal, valueOf } from './heads.js';
import { channelsOf, picture, shown } from './pictures.js';
import { writeCsv } from './csv.js';

const STEP = 100; // rows shown at first, and added by each press of the button
const MAX_FILE_COLUMNS = 4; // columns of the file shown beside the decision
const CHUNK = 2000; // rows of one request
const N_REASONS = 3;
const MAX_TOP = 100; // values of a window whose shares are asked for

export class Batch {
  constructor(schema, bundle, opened) {
    Object.assign(this, { schema, bundle, opened, heads: headsOf(schema) });
    $('download').onclick = () => this.download();
    $('more').onclick = () => { this.nShown += STEP; this.draw(); };
    $('alarms-only').onchange = () => this.draw();
    $('sort-by').onchange = () => this.sort(this.columns[Number($('sort-by').value)]);
  }

  async decide(given) {
    try {
      await this.decideAll(given);
    } catch (error) {
      $('batch').hidden = true; // "Deciding…" is no longer true
      throw error;
    }
  }

  async decideAll(given) {
    $('batch').hidden = false;
    $('batch-status').textContent = 'Deciding…';
    $('rows').replaceChildren();
    this.given = given;
    this.predictions = [];
    const showProgress = (n) => { $('batch-status').textContent = `Decided on ${this.predictions.length.toLocaleString('en')} of ${n.toLocaleString('en')}…`; };
    const size = Math.min(CHUNK, this.schema.limits.rows);
    if (given.body) this.predictions = (await this.bundle.predictFile(given.body, given.type)).predictions;
    else if (given.records) {
      for (const { body, type } of given.chunks(size)) {
        this.predictions.push(...(await this.bundle.predictFile(body, type)).predictions);
        showProgress(given.records.length);
      }
    } else {
      const perRequest = Math.max(1, Math.min(size, Math.floor(this.schema.limits.body_bytes / (JSON.stringify(given.instances[0]).length + 64))));
      for (let at = 0; at < given.instances.length; at += perRequest) {
        this.predictions.push(...(await this.bundle.predict(given.instances.slice(at, at + perRequest))).predictions);
        showProgress(given.instances.length);
      }
    }
    this.order = this.predictions.map((_, at) => at);
    this.sorted = null;
    this.reasons = new Map();
    this.nShown = STEP;
    this.columns = this.columnsShown();
    const detectors = this.heads.filter((head) => head.detector);
    $('batch-sliders').replaceChildren(...detectors.map((head) => slider(head, () => this.draw())));
    $('alarms-only').checked = false;
    $('sort-by').replaceChildren(...this.columns.map(({ title }, at) => make('option', { value: at }, title)));
    $('alarms-only-label').hidden = !detectors.length;
    const score = this.columns.find(({ what }) => what === 'anomaly_score');
    if (score) this.sort(score, 'descending');
    else this.draw();
    $('batch-title').scrollIntoView({ block: 'start' });
  }

  // Of each column: title, value of a row for sorting and download, and how it is shown.
  columnsShown() {
    const columns = [{ title: 'row', value: (at) => at + 1, shown: (at) => this.rowTitle(at) }];
    const { header, records } = this.given;
    (header ?? []).slice(0, MAX_FILE_COLUMNS).forEach((title, place) => columns.push({ title, own: true, value: (at) => numeric(records[at][place]) }));
    for (const head of this.heads) {
      const name = (what) => (this.heads.length > 1 ? `${head.name}: ${what}` : what);
      const of = (what) => (at) => valueOf(head, what, this.predictions[at]);
      if (head.keys.class) columns.push({ title: name('class'), value: (at) => classOf(head, this.predictions[at]) });
      if (head.keys.probabilities) columns.push({ title: name('probability'), value: (at) => Math.max(...Object.values(of('probabilities')(at))), shown: (at) => percent(Math.max(...Object.values(of('probabilities')(at)))) });
      if (head.keys.p_value) {
        const normal = (at) => isNormal(head, of('p_value')(at));
        columns.push({ title: name('verdict'), value: (at) => (normal(at) ? 'normal' : 'abnormal'), shown: (at) => make('span', { className: normal(at) ? '' : 'abnormal' }, normal(at) ? 'normal' : 'not normal') });
        columns.push({ title: name('p-value'), value: of('p_value') }, { title: name('score'), what: 'anomaly_score', value: of('anomaly_score') });
      }
    }
    if (this.givesReasons()) columns.push({ title: 'reasons', own: true, value: (at) => this.reasons.get(at) ?? '' });
    return columns;
  }

  rowTitle(at) {
    const { names, instances } = this.given;
    const name = names?.[at] ?? String(at + 1);
    if (!instances && !this.given.instanceOf) return name;
    const button = make('button', { type: 'button', className: 'link', onclick: () => this.opened(instances ? instances[at] : this.given.instanceOf(at)) }, name);
    button.setAttribute('aria-label', `Open ${name}`);
    if (instances && this.schema.kind === 'images') button.prepend(picture(instances[at], this.schema));
    return button;
  }

  draw() {
    const n = this.predictions.length;
    const counts = this.heads.filter((head) => head.detector).map((head) => {
      const found = this.predictions.filter((one) => !isNormal(head, valueOf(head, 'p_value', one))).length;
      return `${found.toLocaleString('en')} not normal${this.heads.length > 1 ? ` for ${head.name}` : ''} at ${percent(head.rate)}`;
    });
    $('batch-status').textContent = [`${n.toLocaleString('en')} ${n === 1 ? 'row' : 'rows'}`, ...counts].join(', ') + '.';
    const head = make('tr', {}, ...this.columns.map((column) => {
      const direction = this.sorted?.column === column ? this.sorted.direction : 'none';
      const cell = make('th', { scope: 'col', className: !column.shown && typeof column.value(0) === 'number' ? 'n' : '' }, make('button', { type: 'button', className: 'link', onclick: () => this.sort(column) }, column.title));
      cell.setAttribute('aria-sort', direction);
      return cell;
    }));
    const rows = this.shownRows();
    const body = rows.slice(0, this.nShown).map((at) => make('tr', {}, ...this.columns.map((column) => {
      const value = column.shown?.(at) ?? column.value(at);
      const plain = typeof value === 'number' ? number(value) : value ?? '';
      return make('td', { className: typeof value === 'number' ? 'n' : '' }, plain);
    })));
    const focused = document.activeElement?.closest?.('#rows thead') ? document.activeElement.textContent : null;
    $('rows').replaceChildren(make('thead', {}, head), make('tbody', {}, ...body));
    stacked($('rows'));
    if (focused !== null) [...$('rows').querySelectorAll('thead button')].find((one) => one.textContent === focused)?.focus();
    $('more').hidden = this.nShown >= rows.length;
    $('batch-how').hidden = !this.givesReasons();
    $('batch-how').textContent = `Reasons: the ${this.schema.kind === 'series' ? 'channels' : 'columns'} that the code reconstructs worst, with their share of the squared error.`;
    this.explain(rows.slice(0, this.nShown));
  }

  shownRows() {
    if (!$('alarms-only').checked) return this.order;
    const detectors = this.heads.filter((head) => head.keys.p_value);
    return this.order.filter((at) => detectors.some((head) => !isNormal(head, valueOf(head, 'p_value', this.predictions[at]))));
  }

  // Pixels of an image are no reason that a person can read; of .npy and Parquet files the page has no rows.
  givesReasons() {
    return this.schema.explains && this.schema.kind !== 'images' && Boolean(this.given.instances || this.given.instanceOf) && this.heads.some((head) => head.detector);
  }

  // Asks for the reasons of rows that are shown, once, and writes them into the table.
  async explain(rows) {
    const { given } = this;
    const missing = this.givesReasons() ? rows.filter((at) => !this.reasons.has(at)) : [];
    if (!missing.length) return;
    for (const at of missing) this.reasons.set(at, '');
    try {
      const instances = missing.map((at) => (given.instances ? given.instances[at] : given.instanceOf(at)));
      const { explanations } = await this.bundle.reasons(instances, this.schema.kind === 'series' ? MAX_TOP : N_REASONS);
      missing.forEach((at, i) => this.reasons.set(at, this.inWords(explanations[i], instances[i])));
    } catch {
      for (const at of missing) this.reasons.set(at, 'could not be asked for');
    }
    if (given === this.given) this.draw();
  }

  // The largest shares by column; of a series those of its steps are added up for each channel.
  inWords({ top }, instance) {
    const shares = new Map();
    const channels = this.schema.kind === 'series' ? channelsOf(this.schema) : [];
    for (const { feature, share } of top) {
      const name = Array.isArray(feature) ? channels[feature[1]] ?? `column ${feature[0]}` : feature;
      shares.set(name, (shares.get(name) ?? 0) + share);
    }
    const ranked = [...shares].sort(([, a], [, b]) => b - a).slice(0, N_REASONS);
    const value = (name) => (this.schema.kind === 'table' && name in instance ? `: ${shown(instance[name])}` : '');
    return ranked.map(([name, share]) => `${name}${value(name)} (${percent(share).replace(' ', '\u00a0')})`).join(', ');
  }

  sort(column, direction) {
    const up = direction ? direction === 'descending' : this.sorted?.column === column && this.sorted.direction === 'ascending';
    this.sorted = { column, direction: up ? 'descending' : 'ascending' };
    $('sort-by').value = this.columns.indexOf(column);
    const values = this.predictions.map((_, at) => column.value(at));
    const compare = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true }));
    this.order = values.map((_, at) => at).sort((a, b) => (up ? -1 : 1) * compare(values[a], values[b]) || a - b);
    this.draw();
  }

  // All columns of the file, then the decisions, in the order of the file.
  download() {
    const { header = [], records } = this.given;
    const columns = this.columns.filter((column) => !column.own && column.title !== 'row');
    const first = records ? header : ['row', ...(this.given.names ? ['name'] : [])];
    const lines = this.predictions.map((_, at) => [
      ...(records ? records[at] : [at + 1, ...(this.given.names ? [this.given.names[at]] : [])]),
      ...columns.map((column) => column.value(at)),
    ]);
    const address = URL.createObjectURL(new Blob([writeCsv([[...first, ...columns.map(({ title }) => title)], ...lines])], { type: 'text/csv' }));
    make('a', { href: address, download: 'decisions.csv' }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

function numeric(text) {
  return text !== undefined && text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text ?? '';
}
