// The decision on one instance: class, probabilities, verdict, and a slider of the threshold.
import { make, number, percent } from './dom.js';
import { classOf, inWords, isNormal, ratesOf, valueOf } from './heads.js';

const MAX_CLASSES = 10;

// The class of the first classifier and the verdict of the first detector, large; other heads folded.
export function showDecisions(place, heads, prediction) {
  const classifier = heads.find((head) => head.keys.class);
  const detector = heads.find((head) => head.keys.p_value);
  const first = [...new Set([classifier, detector])].filter(Boolean);
  const others = heads.filter((head) => !first.includes(head));
  const shown = first.map((head) => decision(head, prediction, heads.length > 1));
  if (others.length) shown.push(otherHeads(others, prediction));
  place.replaceChildren(...shown);
}

function decision(head, prediction, named) {
  const block = make('div', { className: 'decision' });
  if (named) block.append(make('h3', {}, head.name));
  const p = valueOf(head, 'p_value', prediction);
  const word = make('p', { className: 'big', role: 'status' });
  const showClass = () => { word.textContent = classOf(head, prediction); };
  if (head.keys.class) {
    showClass();
    block.append(word);
  }
  if (head.keys.probabilities) block.append(bars(valueOf(head, 'probabilities', prediction)));
  if (p !== undefined) block.append(verdictBlock(head, p, valueOf(head, 'anomaly_score', prediction), showClass));
  return block;
}

// One line a head; what disagrees can be seen without unfolding.
function otherHeads(heads, prediction) {
  const said = heads.map((head) => {
    const p = valueOf(head, 'p_value', prediction);
    const words = [];
    if (head.keys.class) words.push(classOf(head, prediction));
    if (p !== undefined) words.push(isNormal(head, p) ? 'normal' : 'not normal');
    return `${head.name}: ${words.join(', ')}`;
  });
  const details = heads.map((head) => make('div', {}, make('h4', {}, head.name), ...otherHead(head, prediction)));
  return make('details', { className: 'others' }, make('summary', {}, `Other heads: ${said.join('; ')}`), ...details);
}

function otherHead(head, prediction) {
  const p = valueOf(head, 'p_value', prediction);
  const parts = [];
  if (head.keys.probabilities) parts.push(bars(valueOf(head, 'probabilities', prediction)));
  else if (head.keys.class) parts.push(make('p', {}, classOf(head, prediction)));
  if (p !== undefined) parts.push(make('p', {}, `${isNormal(head, p) ? 'Normal' : 'Not normal'}: p = ${number(p)}, anomaly score ${number(valueOf(head, 'anomaly_score', prediction))}.`));
  return parts;
}

function bars(probabilities) {
  const entries = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  const body = make('tbody');
  for (const [label, share] of entries.slice(0, MAX_CLASSES)) {
    const bar = make('span');
    bar.style.inlineSize = `${100 * share}%`;
    body.append(make('tr', {}, make('th', { scope: 'row' }, label), make('td', { className: 'bar' }, bar), make('td', { className: 'n' }, percent(share))));
  }
  const rest = entries.slice(MAX_CLASSES).reduce((sum, [, share]) => sum + share, 0);
  if (entries.length > MAX_CLASSES) body.append(make('tr', {}, make('th', { scope: 'row' }, `${entries.length - MAX_CLASSES} others`), make('td'), make('td', { className: 'n' }, percent(rest))));
  const head = make('thead', { className: 'hidden' }, make('tr', {}, ...['class', 'bar', 'probability'].map((name) => make('th', { scope: 'col' }, name))));
  return make('table', { className: 'bars' }, make('caption', { className: 'hidden' }, 'Probabilities'), head, body);
}

function verdictBlock(head, p, score, moved) {
  const verdict = make('p', { className: 'big verdict', role: 'status' });
  const rule = make('p', { className: 'small' });
  const show = () => {
    const normal = isNormal(head, p);
    verdict.textContent = normal ? 'Normal' : 'Not normal';
    verdict.classList.toggle('abnormal', !normal);
    rule.textContent = `p = ${number(p)}, which is ${normal ? 'above' : 'not above'} ${number(head.rate)}; anomaly score ${number(score)}. `
      + `At this rate about ${percent(head.rate)} of normal instances are called not normal.`;
  };
  show();
  return make('div', {}, verdict, make('p', {}, inWords(p, head.detector.n_calibration)), slider(head, () => { show(); moved(); }), rule);
}

// A slider of false-alarm rates; it changes the page, not the answers of the service.
export function slider(head, moved) {
  const rates = ratesOf(head);
  const own = head.detector.false_alarm_rate;
  const output = make('output');
  const input = make('input', { type: 'range', min: '0', max: String(rates.length - 1), step: '1', value: String(nearest(rates, head.rate)) });
  const back = make('button', { type: 'button' }, 'Reset');
  const show = () => {
    output.textContent = `${percent(head.rate)}${head.rate === own ? ', as the detector was set' : ''}`;
    input.setAttribute('aria-valuetext', percent(head.rate));
    back.disabled = head.rate === own;
  };
  const move = (rate) => { head.rate = rate; show(); moved(); };
  input.addEventListener('input', () => move(rates[Number(input.value)]));
  back.addEventListener('click', () => { input.value = String(nearest(rates, own)); move(own); });
  show();
  return make('div', { className: 'slider' }, make('label', {}, 'False-alarm rate: ', output, input), back);
}

function nearest(rates, rate) {
  return rates.reduce((best, one, at) => (Math.abs(one - rate) < Math.abs(rates[best] - rate) ? at : best), 0);
}
