// Reading and writing of CSV (RFC 4180); the separator is the most frequent in the first line.

export function parseCsv(text) {
  const clean = text.replace(/^\uFEFF/, '');
  const separator = separatorOf(clean);
  const records = [];
  let [record, cell, quoted, wasQuoted] = [[], '', false, false];
  const endCell = () => { record.push(cell); [cell, wasQuoted] = ['', false]; };
  const endRecord = () => {
    endCell();
    if (record.length > 1 || record[0] !== '') records.push(record);
    record = [];
  };
  for (let at = 0; at < clean.length; at++) {
    const letter = clean[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (clean[at + 1] === '"') { cell += '"'; at++; } else quoted = false;
    } else if (letter === '"' && cell === '' && !wasQuoted) [quoted, wasQuoted] = [true, true];
    else if (letter === separator) endCell();
    else if (letter === '\n' || letter === '\r') { if (letter === '\r' && clean[at + 1] === '\n') at++; endRecord(); } else cell += letter;
  }
  if (cell !== '' || record.length) endRecord();
  return { separator, records };
}

export function writeCsv(records, separator = ',') {
  const cell = (value) => {
    const text = value === null || value === undefined ? '' : String(value);
    return /["\n\r,;\t|]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${records.map((record) => record.map(cell).join(separator)).join('\n')}\n`;
}

function separatorOf(text) {
  const line = text.slice(0, text.search(/[\r\n]/) < 0 ? text.length : text.search(/[\r\n]/));
  const count = (mark) => line.split(mark).length - 1;
  return [',', ';', '\t', '|'].reduce((best, mark) => (count(mark) > count(best) ? mark : best));
}
