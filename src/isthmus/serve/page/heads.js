// Heads of a bundle, their outputs in a prediction, and verdicts at a false-alarm rate.

// One object for each head: names of its outputs by kind, its metadata and its detector.
export function headsOf(schema) {
  const heads = new Map();
  for (const { name, what, head } of schema.outputs) {
    if (head === null) continue;
    if (!heads.has(head)) {
      const facts = schema.heads[head];
      const detector = facts.kind === 'detector' ? facts : facts.rejecter;
      heads.set(head, { name: head, keys: {}, facts, detector, rate: detector?.false_alarm_rate });
    }
    heads.get(head).keys[what] = name;
  }
  return [...heads.values()];
}

export function valueOf(head, what, prediction) {
  return prediction[head.keys[what]];
}

// The rule of the detector: p-values are multiples of 1 / (n + 1), compared as whole numbers.
export function isNormal(head, p) {
  const n = head.detector.n_calibration;
  return Math.round(p * (n + 1)) > Math.min(n, Math.floor(head.rate * (n + 1) + 1e-9));
}

// The class at the rate of the slider, which may differ from the rate of the service.
export function classOf(head, prediction) {
  const p = valueOf(head, 'p_value', prediction);
  const found = valueOf(head, 'class', prediction);
  const probabilities = valueOf(head, 'probabilities', prediction);
  if (p === undefined || !probabilities) return String(found);
  if (!isNormal(head, p)) return String(head.facts.unknown);
  return Object.entries(probabilities).reduce((best, one) => (one[1] > best[1] ? one : best))[0];
}

// A p-value in words: the share of calibration instances that score at least as high.
export function inWords(p, n) {
  if (Math.round(p * (n + 1)) <= 1) return `None of the ${n.toLocaleString('en')} normal calibration instances looks as unusual as this one.`;
  const share = p >= 0.0995 ? [Math.round(100 * p), 100] : [Math.max(1, Math.round(1000 * p)), 1000];
  if (share[0] >= share[1]) return 'Every normal instance looks as unusual as this one, or more so.';
  return `About ${share[0]} of ${share[1].toLocaleString('en')} normal instances look as unusual as this one, or more so.`;
}

// Rates of the slider, in round steps, from the smallest that the number of calibration instances
// allows to one half.
export function ratesOf(head) {
  const smallest = 1 / (head.detector.n_calibration + 1);
  const rates = [];
  for (const power of [1e-4, 1e-3, 1e-2, 1e-1]) for (const step of [1, 1.5, 2, 3, 4, 5, 7]) rates.push(Number((power * step).toPrecision(2)));
  const within = rates.filter((rate) => rate >= smallest && rate <= 0.5);
  return [...new Set([...within, head.detector.false_alarm_rate])].sort((a, b) => a - b);
}
