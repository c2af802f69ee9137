// The form that sends a correct label to the queue of the service.
import { $, make } from './dom.js';

const DETECTOR_LABELS = [[1, 'normal'], [-1, 'not normal']];

export function showCorrection(schema, bundle, instanceOf) {
  const form = $('wrong');
  form.hidden = !schema.takes_labels;
  if (form.hidden) return;
  const choices = [];
  const select = make('select', { id: 'right' });
  const heads = Object.entries(schema.heads).filter(([, facts]) => facts.takes_labels !== false);
  for (const [head, facts] of heads) {
    const labels = facts.kind === 'detector' ? DETECTOR_LABELS : facts.classes.map((label) => [label, String(label)]);
    const more = facts.kind === 'detector' ? { normal: 1 } : {};
    const options = labels.map(([label, words]) => make('option', { value: String(choices.push({ head, label, words, more }) - 1) }, words));
    select.append(...(heads.length > 1 ? [make('optgroup', { label: head }, ...options)] : options));
  }
  const status = $('wrong-status');
  $('wrong-fields').replaceChildren(make('label', { htmlFor: 'right' }, 'It is'), select, make('button', {}, 'Send'));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const { head, label, words, more } = choices[Number(select.value)];
    status.textContent = 'Sending…';
    try {
      await bundle.label(instanceOf(), head, label, more);
      status.textContent = `Queued as ${words}, for the next update of ${head}.`;
    } catch (error) {
      status.textContent = error.message;
    }
  };
}

export function clearCorrection() {
  $('wrong-status').textContent = '';
}
