// Files as instances where the page can read them, else unchanged for the service.
import { columnsOf, rowOf, windowOf } from './form.js';
import { readImage } from './images.js';
import { parseCsv, writeCsv } from './csv.js';
import { channelsOf } from './pictures.js';
import { isLongTable } from './series.js';

const TYPES = { npy: 'application/x-npy', parquet: 'application/vnd.apache.parquet', csv: 'text/csv' };

export function accepted(schema) {
  return { images: 'image/*,.npy', table: '.csv,.tsv,.txt,.parquet,.npy', series: '.csv,.txt,.tsv,.npy' }[schema.kind];
}

export function acceptedWords(schema) {
  const [h, w] = schema.schema.shape;
  const [points] = Object.values(schema.points ?? {});
  if (points) return `CSV of a series: a line a time point, with the columns ${columnsOfSeries(points).join(', ')}; at most ${schema.limits.points.toLocaleString('en')} lines. Or drop the file on the page. A window of ${h} steps as CSV or .npy is decided on as one.`;
  return {
    images: `One image, several, or a .npy file. Images of another size are resized to ${w} × ${h}.`,
    table: 'CSV with a header line, Parquet or .npy. Or drop the file on the page.',
    series: `CSV of a series, a line a step with a column a channel, which is cut into windows of ${h} steps; CSV with a window a line; or .npy. Or drop the file on the page.`,
  }[schema.kind];
}

function columnsOfSeries({ time_column: time, group_columns: groups, channels }) {
  return [...(time ? [time] : []), ...groups, ...channels];
}

// { instances, names, header?, records? }, or { body, type } for files that only the service reads,
// or { file, records } of a series that is decided on time point by time point.
export async function readFiles(files, schema) {
  const list = [...files];
  if (schema.kind === 'images' && list.every((file) => file.type.startsWith('image/'))) {
    const instances = [];
    for (const file of list) instances.push(await readImage(file, schema));
    return { instances, names: list.map((file) => file.name) };
  }
  if (list.length > 1) throw new Error(`Got ${list.length} files, expected one${schema.kind === 'images' ? ', or images alone' : ''}.`);
  const [file] = list;
  const suffix = file.name.toLowerCase().split('.').pop();
  if (suffix === 'npy' || (suffix === 'parquet' && schema.kind === 'table')) return { body: file, type: TYPES[suffix] };
  if (schema.kind === 'images') throw new Error(`Got ${file.name}, expected images or a .npy file.`);
  const { separator, records } = parseCsv(await file.text());
  if (!records.length) throw new Error(`Got ${file.name} without a line, expected CSV.`);
  if (isLongTable(records, schema)) return { file, records };
  return schema.kind === 'series' ? readWindows(records, schema) : readRows(records, separator, schema);
}

function readRows(records, separator, schema) {
  const columns = columnsOf(schema);
  const [header, ...rows] = records;
  if (!rows.length) throw new Error('Got a header line alone, expected rows below it.');
  const places = schema.schema.columns ? columns.map(({ name }) => header.indexOf(name)) : columns.map((_, at) => at);
  // Rows are sent unparsed: the service names what is wrong with them.
  const instance = (row) => rowOf(places.map((place) => row[place] ?? ''), columns, schema);
  const chunks = (size) => Array.from({ length: Math.ceil(rows.length / size) }, (_, at) => ({
    body: writeCsv([header, ...rows.slice(at * size, (at + 1) * size)], separator), type: TYPES.csv,
  }));
  return { header, records: rows, chunks, instanceOf: (at) => instance(rows[at]) };
}

function readWindows(records, schema) {
  const [steps, channels] = schema.schema.shape;
  const series = readSeries(records, steps, channels, schema);
  if (series) return series;
  const numeric = (record) => record.every((cell) => cell.trim() !== '' && Number.isFinite(Number(cell)));
  const rows = numeric(records[0]) ? records : records.slice(1);
  if (rows.length === steps && rows[0].length === channels) return { instances: [windowOf(rows.flat().join(' '), steps, channels)], names: ['1'] };
  return { instances: rows.map((row) => windowOf(row.join(' '), steps, channels)), names: rows.map((_, at) => String(at + 1)) };
}

// A series, a line a step, as windows one after the other, the last one up to the end; null where the
// lines are no steps. Columns are chosen by the names of the channels; without names, or with others,
// there have to be as many as channels.
function readSeries(records, steps, channels, schema) {
  const numeric = (cells) => cells.every((cell) => cell.trim() !== '' && Number.isFinite(Number(cell)));
  const header = numeric(records[0]) ? null : records[0];
  const rows = header ? records.slice(1) : records;
  const places = channelsOf(schema).map((name) => (header ?? []).indexOf(name));
  const byName = places.every((place) => place >= 0);
  if (rows.length <= steps || (!byName && (rows[0].length !== channels || (channels === 1 && !header)))) return null;
  const cells = byName ? rows.map((row) => places.map((place) => row[place] ?? '')) : rows;
  const bad = cells.findIndex((row) => !numeric(row));
  if (bad >= 0) throw new Error(`Got ${cells[bad].join(', ')} in line ${bad + (header ? 2 : 1)}, expected a number for each channel.`);
  const starts = [];
  for (let at = 0; at + steps <= cells.length; at += steps) starts.push(at);
  if (cells.length % steps) starts.push(cells.length - steps);
  return {
    instances: starts.map((at) => cells.slice(at, at + steps).map((row) => row.map(Number))),
    names: starts.map((at) => `rows ${at} to ${at + steps - 1}`),
  };
}
