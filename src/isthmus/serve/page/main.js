// The page: which bundle, what is given, and what comes of it.
import { ask, bundleAt, keepToken, Problem } from './api.js';
import { showDecisions } from './answer.js';
import { Batch } from './batch.js';
import { forgetCorrection, showCorrection } from './correction.js';
import { $, make, percent } from './dom.js';
import { accepted, acceptedWords, readFiles } from './files.js';
import { makeForm } from './form.js';
import { headsOf } from './heads.js';
import { Paper } from './paper.js';
import { picture } from './pictures.js';
import { imageOf, inkOf } from './strokes.js';
import { showNearest, showWhy } from './why.js';

const LARGEST_DRAWN = 128; // pixels a side
const KNOWN = 24;
const PAUSE = 120; // ms that a person rests before the service is asked

const now = {}; // bundle, schema, heads, known, form, paper, batch, instance, asked
let resting; // the timer of what is drawn or typed

function complain(error) {
  if (error instanceof Problem && error.status === 401) {
    $('token-form').hidden = false;
    $('token').focus();
  }
  $('problem').textContent = error ? error.message : '';
  $('problem').hidden = !error;
}

async function guarded(task) {
  try {
    complain(null);
    await task();
  } catch (error) {
    if (error.name !== 'AbortError') complain(error); // else what came instead goes on
  }
}

async function begin() {
  const { bundles } = await ask('/health');
  const names = Object.keys(bundles);
  const first = await ask('/schema'); // of the bundle that is asked when none is named
  const select = $('bundle');
  select.replaceChildren(...names.map((name) => make('option', { value: name }, name)));
  select.value = first.name;
  select.onchange = () => guarded(() => open(select.value));
  $('choose-bundle').hidden = names.length < 2;
  await open(first.name, first);
}

async function open(name, told) {
  stop();
  now.paper?.close();
  // Nothing can be given to the bundle before once another is asked for.
  for (const id of ['answer', 'batch', 'draw', 'form', 'known']) $(id).hidden = true;
  Object.assign(now, { bundle: bundleAt(name), paper: null, form: null, instance: null, known: [] });
  const { bundle } = now;
  const schema = told ?? (await bundle.schema());
  const known = schema.known ? await bundle.known(KNOWN) : null;
  if (bundle !== now.bundle) return; // another was chosen meanwhile
  now.schema = schema;
  now.heads = headsOf(schema);
  $('work').hidden = false;
  introduce(schema);
  if (known) {
    now.known = known.instances;
    showKnown(schema, known.instances, known.labels);
  }
  if (schema.kind === 'images') offerDrawing(schema);
  else {
    $('form').hidden = false;
    now.form = makeForm($('form'), schema, rested(() => now.form.get()));
    if (now.known.length) now.form.set(now.known[0]);
  }
  $('file').accept = accepted(schema);
  $('file-how').textContent = acceptedWords(schema);
  now.batch = new Batch(schema, bundle, (instance) => guarded(() => take(instance)));
  showCorrection(schema, bundle, () => now.instance);
  if (now.form && now.known.length) await decide(() => known.instances[0]);
}

function introduce(schema) {
  const [first, second] = schema.schema.shape;
  const what = { images: `An image of ${second} × ${first} pixels`, series: `A window of ${first} steps`, table: `A row of ${first} columns` }[schema.kind];
  const decided = now.heads.map(({ facts, judge }) => {
    const classes = facts.classes ? `which of ${facts.classes.length} classes` : '';
    const normal = judge ? `normal or not, at a false-alarm rate of ${percent(judge.false_alarm_rate)}` : '';
    return [classes, normal].filter(Boolean).join(', ');
  });
  $('title').textContent = schema.name;
  document.title = `${schema.name} · isthmus`;
  $('about').textContent = decided.length ? `${what} goes in; out comes ${[...new Set(decided)].join('; ')}.` : `${what} goes in. This bundle has no heads yet, so there is nothing to decide.`;
  $('digest').textContent = `Decided by ${schema.digest.slice(0, 12)}`;
}

function offerDrawing(schema) {
  const [h, w, channels] = schema.schema.shape;
  if (channels !== undefined || Math.max(h, w) > LARGEST_DRAWN) return;
  const whole = schema.schema.dtype === 'uint8';
  const ink = inkOf(now.known.map((image) => image.map((row) => row.map((value) => (whole ? value / 255 : value)))));
  $('draw').hidden = false;
  $('fit').closest('label').hidden = !now.known.length;
  const drawn = rested(() => {
    const { strokes } = now.paper;
    if (!strokes.length) return null;
    const value = (share) => (ink.dark ? 1 - share : share);
    const rows = imageOf(strokes, h, w, ink, $('fit').checked && now.known.length > 0);
    return rows.map((row) => row.map((share) => (whole ? Math.round(255 * value(share)) : value(share))));
  });
  now.paper = new Paper($('paper'), h, w, drawn);
  now.paper.thickness = ink.thickness;
  now.paper.paint();
  $('clear').onclick = () => now.paper.clear();
  $('undo').onclick = () => now.paper.undo();
  $('fit').onchange = drawn;
}

function showKnown(schema, instances, labels) {
  $('known').hidden = false;
  $('known-strip').replaceChildren(...instances.map((instance, at) => {
    const label = labels[at] ?? `instance ${at + 1}`;
    const button = make('button', { type: 'button', className: 'known', onclick: () => guarded(() => take(instance)) });
    button.append(...(schema.kind === 'table' ? [`${label} (${at + 1})`] : [picture(instance, schema), make('span', {}, label)]));
    return button;
  }));
}

// Shows an instance that was not drawn or typed, and decides on it.
async function take(instance) {
  now.paper?.wipe();
  now.form?.set(instance);
  await decide(() => instance);
  if (matchMedia('(max-width: 55rem)').matches) $('answer').scrollIntoView({ block: 'start' });
}

// Decides on the instance that give() returns; on null there is nothing to decide.
async function decide(give) {
  stop();
  now.asked = new AbortController();
  const { signal } = now.asked;
  busy(true);
  try {
    const instance = give();
    if (instance) await answer(instance, signal);
    else $('answer').hidden = true;
  } finally {
    if (!signal.aborted) busy(false);
  }
}

async function answer(instance, signal) {
  const { schema, bundle } = now;
  const one = [instance];
  const decides = Object.keys(schema.heads).length > 0;
  const [predicted, explained, near] = await Promise.all([
    decides ? bundle.predict(one, signal) : null,
    schema.explains ? bundle.explain(one, signal) : null,
    schema.known ? bundle.nearest(one, signal) : null,
  ]);
  signal.throwIfAborted();
  now.instance = instance; // what is corrected is what is shown
  forgetCorrection();
  $('answer').hidden = false;
  if (predicted) showDecisions($('decisions'), now.heads, predicted.predictions[0]);
  $('why').hidden = !explained?.explanations[0].reconstruction;
  if (!$('why').hidden) showWhy($('why-pictures'), $('why-how'), schema, instance, explained.explanations[0]);
  $('nearest').hidden = !near;
  if (near) showNearest($('nearest-strip'), $('nearest-how'), schema, near.neighbours[0], near.rebuilt);
}

async function giveFiles(files) {
  if (!files.length) return;
  const given = await readFiles(files, now.schema);
  if (given.instances?.length === 1) await take(given.instances[0]);
  else await now.batch.decide(given);
}

function rested(give) {
  return () => {
    stop();
    busy(true);
    resting = setTimeout(() => guarded(() => decide(give)), PAUSE);
  };
}

// What is still to be asked, or answered, is of an instance before.
function stop() {
  clearTimeout(resting);
  now.asked?.abort();
}

// While it is, what stands in the answer is of an instance before, and is not read aloud.
function busy(is) {
  $('answer').setAttribute('aria-busy', String(is));
}

function listen() {
  $('file').onchange = async (event) => {
    await guarded(() => giveFiles(event.target.files));
    event.target.value = ''; // so that the same file can be chosen again
  };
  const overlay = $('drop');
  addEventListener('dragover', (event) => { event.preventDefault(); overlay.hidden = false; });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) overlay.hidden = true; });
  addEventListener('drop', (event) => {
    event.preventDefault();
    overlay.hidden = true;
    guarded(() => giveFiles(event.dataTransfer.files));
  });
  addEventListener('paste', (event) => guarded(() => giveFiles(event.clipboardData?.files ?? [])));
  $('token-form').onsubmit = (event) => {
    event.preventDefault();
    keepToken($('token').value);
    $('token-form').hidden = true;
    guarded(begin);
  };
}

listen();
guarded(begin);
