// Requests to the service of this page. Every error of the service has got, expected and fix.

// The page may lie under a path of a proxy: requests are relative to where this file is.
const ROOT = new URL('..', import.meta.url);
const TOKEN = `isthmus-token ${ROOT.pathname}`;

const MAX_SIDE = 128; // pixels a side of thumbnails: of larger images only these are requested

export class Problem extends Error {
  constructor(status, plain) {
    super(plain.got ? `Got ${plain.got}; expected ${plain.expected}. Fix: ${plain.fix}.` : `The service answered with status ${status}.`);
    this.status = status;
  }
}

export function storeToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export async function ask(path, { body, type = 'application/json', signal } = {}) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers['Content-Type'] = type;
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { method: body === undefined ? 'GET' : 'POST', headers, body, signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { got: 'no answer', expected: 'one from the service', fix: 'check that it is running' });
  }
  const plain = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, plain);
  return plain;
}

export function bundleAt(name) {
  const prefix = `bundles/${name}`;
  const send = (word, plain, signal) => ask(`${prefix}/${word}`, { body: JSON.stringify(plain), signal });
  return {
    schema: () => ask(`${prefix}/schema`),
    references: (n) => ask(`${prefix}/known?n=${n}&max_side=${MAX_SIDE}`),
    reference: async (at) => (await ask(`${prefix}/known?at=${at}`)).instances[0],
    monitor: () => ask(`${prefix}/monitor`),
    // What a person tries out does not count for the monitor.
    predict: (instances, signal) => send('predict?monitor=false', { instances }, signal),
    predictFile: (body, type) => ask(`${prefix}/predict?monitor=false`, { body, type }),
    points: (file, head) => ask(`${prefix}/points?head=${encodeURIComponent(head)}`, { body: file, type: 'text/csv' }),
    explain: (instances, signal) => send(`explain?top=10&whole=true&max_side=${2 * MAX_SIDE}`, { instances }, signal),
    reasons: (instances, top) => send(`explain?top=${top}`, { instances }),
    nearest: (instances, signal) => send(`nearest?k=6&max_side=${MAX_SIDE}`, { instances }, signal),
    label: (instance, head, label, more) => send('labels', { instances: [instance], labels: [label], head, ...more }),
  };
}
