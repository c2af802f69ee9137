// The page: choice of a bundle, input of an instance or files, and the answer.
import { ask, bundleAt, storeToken, Problem } from './api.js';
import { showDecisions } from './answer.js';
import { Batch } from './batch.js';
import { clearCorrection, showCorrection } from './correction.js';
import { $, make, percent } from './dom.js';
import { accepted, acceptedWords, readFiles } from './files.js';
import { makeForm } from './form.js';
import { headsOf } from './heads.js';
import { Paper } from './paper.js';
import { picture } from './pictures.js';
import { showPromise, stopPromise } from './promise.js';
import { Series } from './series.js';
import { imageOf, inkOf } from './strokes.js';
import { showNearest, showWhy } from './why.js';

const MAX_DRAWN_SIDE = 128; // pixels a side
const N_REFERENCES = 24;
const DEBOUNCE = 120; // ms without input before a request is sent

const state = {}; // bundle, schema, heads, references, form, paper, batch, instance, request
let timer; // of the input that is drawn or typed

function showError(error) {
  if (error instanceof Problem && error.status === 401) {
    $('token-form').hidden = false;
    $('token').focus();
  }
  $('problem').textContent = error ? error.message : '';
  $('problem').hidden = !error;
}

async function guarded(task) {
  try {
    showError(null);
    await task();
  } catch (error) {
    if (error.name === 'AbortError') return; // aborted by a newer request, which goes on
    clearMessages();
    showError(error);
  }
}

// What was said of an earlier input does not stand beside an error.
function clearMessages() {
  for (const id of ['notes', 'of-rebuilt']) $(id).hidden = true;
  clearCorrection();
  $('answer').hidden = true;
}

async function begin() {
  const first = await ask('schema'); // of the default bundle; refused without the token
  const { bundles } = await ask('health');
  const names = Object.keys(bundles);
  const select = $('bundle');
  select.replaceChildren(...names.map((name) => make('option', { value: name }, name)));
  select.value = first.name;
  select.onchange = () => guarded(() => open(select.value));
  $('choose-bundle').hidden = names.length < 2;
  await open(first.name, first);
}

async function open(name, loaded) {
  stop();
  stopPromise();
  state.paper?.close();
  state.series?.close();
  // No input for the previous bundle once another is chosen.
  for (const id of ['answer', 'batch', 'series', 'draw', 'form', 'references', 'promise']) $(id).hidden = true;
  Object.assign(state, { bundle: bundleAt(name), paper: null, form: null, series: null, instance: null, references: [] });
  const { bundle } = state;
  const schema = loaded ?? (await bundle.schema());
  const references = schema.known ? await bundle.references(N_REFERENCES) : null;
  if (bundle !== state.bundle) return; // another was chosen meanwhile
  state.schema = schema;
  state.heads = headsOf(schema);
  if (Object.keys(schema.points ?? {}).length) state.series = new Series(schema, bundle);
  // First, as a line that appears later would move the paper away under the mouse.
  await guarded(() => showPromise(bundle));
  if (bundle !== state.bundle) return;
  $('work').hidden = false;
  introduce(schema);
  if (references) {
    state.references = references.instances;
    showReferences(schema, references);
  }
  if (schema.kind === 'images') offerDrawing(schema);
  else {
    $('form').hidden = false;
    state.form = makeForm($('form'), schema, debounced(() => state.form.get()));
    if (state.references.length) state.form.set(state.references[0]);
  }
  $('file').accept = accepted(schema);
  $('file-how').textContent = acceptedWords(schema);
  state.batch = new Batch(schema, bundle, (instance) => guarded(() => take(instance)));
  showCorrection(schema, bundle, () => state.instance);
  // A series begins with its file, and not with a window of it.
  if (state.series) $('form').before($('files'));
  else $('form').after($('files'));
  if (state.form && state.references.length && !state.series) await decide(() => references.instances[0], references.rebuilt);
}

function introduce(schema) {
  const [first, second] = schema.schema.shape;
  const what = { images: `an image of ${second} × ${first} pixels`, series: `a window of ${first} steps`, table: `a row of ${first} columns` }[schema.kind];
  const decided = state.heads.map(({ facts, detector }) => {
    const classes = facts.classes ? `which of ${facts.classes.length} classes` : '';
    const normal = detector ? `normal or not, at a false-alarm rate of ${percent(detector.false_alarm_rate)}` : '';
    return [classes, normal].filter(Boolean).join(', ');
  });
  $('title').textContent = schema.name;
  document.title = `${schema.name} · isthmus`;
  $('about').textContent = state.series ? state.series.introduction() : decided.length ? `Input: ${what}. Decision: ${[...new Set(decided)].join('; ')}.` : `Input: ${what}. This bundle has no heads, so there is no decision.`;
  $('digest').textContent = `Version ${schema.digest.slice(0, 12)}`;
}

function offerDrawing(schema) {
  const [h, w, channels] = schema.schema.shape;
  if (channels !== undefined || Math.max(h, w) > MAX_DRAWN_SIDE) return;
  const whole = schema.schema.dtype === 'uint8';
  const ink = inkOf(state.references.map((image) => image.map((row) => row.map((value) => (whole ? value / 255 : value)))));
  $('draw').hidden = false;
  $('fit').closest('label').hidden = !state.references.length;
  const drawn = debounced(() => {
    const { strokes } = state.paper;
    if (!strokes.length) return null;
    const value = (share) => (ink.dark ? 1 - share : share);
    const rows = imageOf(strokes, h, w, ink, $('fit').checked && state.references.length > 0);
    return rows.map((row) => row.map((share) => (whole ? Math.round(255 * value(share)) : value(share))));
  });
  state.paper = new Paper($('paper'), h, w, drawn);
  state.paper.thickness = ink.thickness;
  state.paper.paint();
  $('clear').onclick = () => state.paper.clear();
  $('undo').onclick = () => state.paper.undo();
  $('fit').onchange = drawn;
}

const REBUILT = 'rebuilt from a code: the service stores no original rows';

function showReferences(schema, { instances, labels, positions, thumbnails, rebuilt }) {
  // A thumbnail is shown, and the whole image fetched once it is chosen.
  const whole = async (at) => (thumbnails ? state.bundle.reference(positions[at]) : instances[at]);
  $('references').hidden = false;
  $('references-how').hidden = !rebuilt;
  $('references-how').textContent = `Each is ${REBUILT}.`;
  $('references-strip').replaceChildren(...instances.map((instance, at) => {
    const label = labels[at] ?? `instance ${at + 1}`;
    const button = make('button', { type: 'button', className: 'reference', onclick: () => guarded(async () => take(await whole(at), rebuilt)) });
    button.append(...(schema.kind === 'table' ? [`${label} (${at + 1})`] : [picture(instance, schema), make('span', {}, label)]));
    return button;
  }));
}

// Shows an instance that was not drawn or typed, and its decision.
async function take(instance, rebuilt = false) {
  state.paper?.wipe();
  state.form?.set(instance);
  await decide(() => instance, rebuilt);
  if (matchMedia('(max-width: 55rem)').matches) $('answer').scrollIntoView({ block: 'start' });
}

// Requests the decision on the instance that getInstance() returns; null is no instance.
async function decide(getInstance, rebuilt = false) {
  stop();
  state.request = new AbortController();
  const { signal } = state.request;
  setBusy(true);
  try {
    const instance = getInstance();
    if (instance) await answer(instance, signal, rebuilt);
    else $('answer').hidden = true;
  } finally {
    if (!signal.aborted) setBusy(false);
  }
}

async function answer(instance, signal, rebuilt) {
  const { schema, bundle } = state;
  const one = [instance];
  const decides = Object.keys(schema.heads).length > 0;
  const [predicted, explained, near] = await Promise.all([
    decides ? bundle.predict(one, signal) : null,
    schema.explains ? bundle.explain(one, signal) : null,
    schema.known ? bundle.nearest(one, signal) : null,
  ]);
  signal.throwIfAborted();
  state.instance = instance; // a correction is of the instance that is shown
  clearCorrection();
  $('answer').hidden = false;
  $('of-rebuilt').hidden = !rebuilt;
  $('of-rebuilt').textContent = `Of a reference instance that is ${REBUILT}. The decision on its original may be another.`;
  if (predicted) showDecisions($('decisions'), state.heads, predicted.predictions[0]);
  $('why').hidden = !explained?.explanations[0].reconstruction;
  if (!$('why').hidden) showWhy($('why-pictures'), $('why-how'), schema, instance, explained.explanations[0]);
  $('nearest').hidden = !near;
  if (near) showNearest($('nearest-strip'), $('nearest-how'), schema, near.neighbours[0], near);
  const notes = [...new Set([predicted, explained, near].flatMap((one) => one?.warnings ?? []))];
  $('notes').textContent = notes.join('. ');
  $('notes').hidden = !notes.length;
}

async function submitFiles(files) {
  if (!files.length) return;
  const given = await readFiles(files, state.schema);
  for (const id of ['series', 'batch']) $(id).hidden = true; // of another file
  if (given.file) {
    stop();
    $('answer').hidden = true; // of a window
    await state.series.decide(given);
    return;
  }
  if (given.instances?.length === 1) await take(given.instances[0]);
  else await state.batch.decide(given);
}

function debounced(getInstance) {
  return () => {
    stop();
    setBusy(true);
    timer = setTimeout(() => guarded(() => decide(getInstance)), DEBOUNCE);
  };
}

// Cancels the request in progress and the one to come.
function stop() {
  clearTimeout(timer);
  state.request?.abort();
}

// While busy, the answer is of an earlier instance, and screen readers do not read it.
function setBusy(isBusy) {
  $('answer').setAttribute('aria-busy', String(isBusy));
}

function listen() {
  $('file').onchange = async (event) => {
    await guarded(() => submitFiles(event.target.files));
    event.target.value = ''; // so that the same file can be chosen again
  };
  const overlay = $('drop');
  addEventListener('dragover', (event) => { event.preventDefault(); overlay.hidden = false; });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) overlay.hidden = true; });
  addEventListener('drop', (event) => {
    event.preventDefault();
    overlay.hidden = true;
    guarded(() => submitFiles(event.dataTransfer.files));
  });
  addEventListener('paste', (event) => guarded(() => submitFiles(event.clipboardData?.files ?? [])));
  $('token-form').onsubmit = (event) => {
    event.preventDefault();
    storeToken($('token').value);
    $('token-form').hidden = true;
    guarded(begin);
  };
}

listen();
guarded(begin);
