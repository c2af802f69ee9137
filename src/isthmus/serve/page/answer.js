// The decision about one instance, in words and bars, with a threshold to slide.
import { make, number, percent } from './dom.js';
import { classOf, inWords, isNormal, ratesOf, valueOf } from './heads.js';

const MOST_CLASSES = 10;

export function showDecisions(place, heads, prediction) {
  const first = heads.find((head) => head.keys.probabilities);
  place.replaceChildren(...heads.map((head) => {
    const block = make('div', { className: 'decision' });
    if (heads.length > 1) block.append(make('h3', {}, head.name));
    const p = valueOf(head, 'p_value', prediction);
    const word = make('p', { className: 'big', role: 'status' });
    const say = () => { word.textContent = classOf(head, prediction); };
    if (head.keys.class) {
      say();
      block.append(word);
    }
    if (head.keys.probabilities) {
      const table = bars(valueOf(head, 'probabilities', prediction));
      block.append(head === first ? table : make('details', {}, make('summary', {}, 'Probabilities'), table));
    }
    if (p !== undefined) block.append(judged(head, p, valueOf(head, 'anomaly_score', prediction), say));
    return block;
  }));
}

function bars(probabilities) {
  const entries = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  const body = make('tbody');
  for (const [label, share] of entries.slice(0, MOST_CLASSES)) {
    const bar = make('span');
    bar.style.inlineSize = `${100 * share}%`;
    body.append(make('tr', {}, make('th', { scope: 'row' }, label), make('td', { className: 'bar' }, bar), make('td', { className: 'n' }, percent(share))));
  }
  const rest = entries.slice(MOST_CLASSES).reduce((sum, [, share]) => sum + share, 0);
  if (entries.length > MOST_CLASSES) body.append(make('tr', {}, make('th', { scope: 'row' }, `${entries.length - MOST_CLASSES} others`), make('td'), make('td', { className: 'n' }, percent(rest))));
  const head = make('thead', { className: 'hidden' }, make('tr', {}, ...['class', 'bar', 'probability'].map((name) => make('th', { scope: 'col' }, name))));
  return make('table', { className: 'bars' }, make('caption', { className: 'hidden' }, 'Probabilities'), head, body);
}

function judged(head, p, score, moved) {
  const verdict = make('p', { className: 'big verdict', role: 'status' });
  const rule = make('p', { className: 'small' });
  const show = () => {
    const normal = isNormal(head, p);
    verdict.textContent = normal ? 'Normal' : 'Not normal';
    verdict.classList.toggle('abnormal', !normal);
    rule.textContent = `p = ${number(p)}, which is ${normal ? 'above' : 'not above'} ${number(head.rate)}; anomaly score ${number(score)}. `
      + `At this setting about ${percent(head.rate)} of normal instances are called not normal.`;
  };
  show();
  return make('div', {}, verdict, make('p', {}, inWords(p, head.judge.n_calibration)), slider(head, () => { show(); moved(); }), rule);
}

// A slider of false-alarm rates; it moves what the page says, not what the service answers.
export function slider(head, moved) {
  const rates = ratesOf(head);
  const own = head.judge.false_alarm_rate;
  const output = make('output');
  const input = make('input', { type: 'range', min: '0', max: String(rates.length - 1), step: '1', value: String(nearest(rates, head.rate)) });
  const back = make('button', { type: 'button' }, 'Back');
  const show = () => {
    output.textContent = `${percent(head.rate)}${head.rate === own ? ', as the detector was set' : ''}`;
    input.setAttribute('aria-valuetext', percent(head.rate));
    back.disabled = head.rate === own;
  };
  const move = (rate) => { head.rate = rate; show(); moved(); };
  input.addEventListener('input', () => move(rates[Number(input.value)]));
  back.addEventListener('click', () => { input.value = String(nearest(rates, own)); move(own); });
  show();
  return make('div', { className: 'slider' }, make('label', {}, 'False alarms to put up with: ', output, input), back);
}

function nearest(rates, rate) {
  return rates.reduce((best, one, at) => (Math.abs(one - rate) < Math.abs(rates[best] - rate) ? at : best), 0);
}
