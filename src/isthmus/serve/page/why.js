// Reconstruction and residual of an instance, and its nearest reference instances.
import { breakable, make, number, percent, stacked } from './dom.js';
import { channelsOf, curvePicture, framed, heatPicture, imagePicture, named, picture, shown } from './pictures.js';
import { columnsOf } from './form.js';

export function showWhy(place, how, schema, instance, explanation) {
  const { reconstruction: rebuilt, residual } = explanation;
  const panels = { images: ofImages, series: ofSeries, table: ofTable };
  place.replaceChildren(...panels[schema.kind](schema, instance, rebuilt, residual));
  how.textContent = {
    images: 'The decoder rebuilds the input from its code. The residual map is dark where it fails.',
    series: 'A panel for each channel, on its own scale. Dashed: the reconstruction from the code. The strip below is dark where it fails.',
    table: 'The reconstruction from the code, and the share of each column in the total residual.',
  }[schema.kind];
}

function ofImages(schema, instance, rebuilt, residual) {
  return [
    framed(imagePicture(instance, schema), 'input'),
    framed(imagePicture(rebuilt, schema), 'rebuilt from its code'),
    framed(heatPicture(residual), `residual, ${number(Math.max(...residual.flat(2)))} at most`),
  ];
}

function ofSeries(schema, instance, rebuilt, residual) {
  return [framed(curvePicture(instance, { rebuilt, residual, names: channelsOf(schema) }), 'input, rebuilt and residual')];
}

function ofTable(schema, instance, rebuilt, residual) {
  const total = residual.reduce((sum, one) => sum + one, 0) || 1;
  const [given, back] = [named(instance, schema), named(rebuilt, schema)];
  const rows = columnsOf(schema).map(({ name }, at) => ({ name, share: residual[at] / total })).sort((a, b) => b.share - a.share);
  const body = make('tbody', {}, ...rows.slice(0, 30).map(({ name, share }) => {
    const bar = make('span');
    bar.style.inlineSize = `${100 * share}%`;
    return make('tr', {}, make('th', { scope: 'row' }, breakable(name)), make('td', { className: 'n' }, shown(given[name])), make('td', { className: 'n' }, shown(back[name])), make('td', { className: 'bar' }, bar), make('td', { className: 'n' }, percent(share)));
  }));
  const head = make('thead', {}, make('tr', {}, ...['column', 'given', 'rebuilt', 'share', ''].map((word, at) => (word ? make('th', { scope: 'col', className: at === 1 || at === 2 ? 'n' : '' }, word) : make('td')))));
  const more = rows.length > 30 ? [make('p', { className: 'small' }, `${rows.length - 30} more with smaller shares.`)] : [];
  return [make('div', { className: 'scroll wide', tabIndex: 0, role: 'region', ariaLabel: 'Columns' }, stacked(make('table', {}, head, body))), ...more];
}

export function showNearest(place, how, schema, neighbours, { rebuilt, thumbnails }) {
  place.replaceChildren(...neighbours.map(({ instance, label, distance }) =>
    framed(picture(instance, schema), `${label ?? 'no label'} · ${number(distance, 2)} away`)));
  how.textContent = 'Distances are between codes, and do not compare with those of another bundle.'
    + (rebuilt ? ' The reference instances are rebuilt from codes: the service stores no original rows.' : '')
    + (thumbnails ? ` Shown are thumbnails of ${thumbnails.to[1]} × ${thumbnails.to[0]} pixels.` : '');
}
