// One line for each detector: whether the promise of its false-alarm rate still holds.
import { $, make, number, percent } from './dom.js';

const SECONDS = 15; // between two requests

let timer, shown;

export async function showPromise(bundle) {
  stopPromise();
  shown = bundle;
  const { heads } = await bundle.monitor();
  if (shown !== bundle) return; // another was chosen meanwhile
  const several = Object.keys(heads).length > 1;
  $('promise').replaceChildren(...Object.entries(heads).map(([name, facts]) => line(several ? `${name}: ` : '', facts)));
  $('promise').hidden = !Object.keys(heads).length;
  // Without an answer the line stays as it was; the next request may have one.
  timer = setTimeout(() => showPromise(bundle).catch(() => {}), 1000 * SECONDS);
}

export function stopPromise() {
  clearTimeout(timer);
  shown = null;
}

function line(start, facts) {
  const when = facts.since && (facts.since.time ? new Date(facts.since.time).toLocaleString() : `row ${number(facts.since.row)}`);
  const said = facts.valid ? holding(facts) : `⚠ The promise no longer holds since ${when}. Moved: ${facts.moved.join(', ')}.`;
  const details = [`${number(facts.n)} rows`];
  if (facts.n) details.push(`${percent(facts.share)} of them called abnormal (95 % interval ${percent(facts.interval[0])} to ${percent(facts.interval[1])}), any true anomalies included; the promise is at most ${percent(facts.rate)} of the normal rows`);
  const gone = [...counted(facts.missing, 'missing'), ...counted(facts.new_categories, 'new categories')];
  if (gone.length) details.push(gone.join(', '));
  if (!facts.valid) details.push('calibrate again with normal rows of today');
  return make('p', { className: facts.valid ? 'promise' : 'promise broken' }, make('strong', {}, `${start}${said}`), ` ${details.join(' · ')}`);
}

function holding(facts) {
  if (!facts.n) return 'No rows yet to say whether the promise holds.';
  if (facts.n < facts.n_learned) return `No statement before ${number(facts.n_learned)} rows.`;
  return '✓ The promise holds.';
}

function counted(columns, word) {
  const names = Object.keys(columns);
  if (!names.length) return [];
  const more = names.length > 3 ? ` and ${names.length - 3} more column${names.length > 4 ? 's' : ''}` : '';
  return [`${word}: ${names.slice(0, 3).map((name) => `${name} ${number(columns[name])}`).join(', ')}${more}`];
}
