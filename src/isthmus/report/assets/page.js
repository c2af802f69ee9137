"use strict";
const live = JSON.parse(document.getElementById("live").textContent);
const percent = (part, of) => `${(100 * part / of).toFixed(2)} %`;
const whole = (number) => number.toLocaleString("en");

for (const box of document.querySelectorAll(".slider")) {
  const { steps, n, n_normal, n_abnormal, threshold, points_per_score } = live.steps[box.dataset.name];
  const line = ["threshold", "threshold-label"].map((part) => document.getElementById(`scores-${box.dataset.name}-${part}`));
  const input = box.querySelector("input"), output = box.querySelector("output");
  const update = () => {
    const at = steps[Number(input.value)];
    const parts = [`threshold ${at.threshold.toPrecision(4)}: ${whole(at.all)} of ${whole(n)} classified as abnormal (${percent(at.all, n)})`];
    if (n_normal) parts.push(`false alarms ${whole(at.normal)} of ${whole(n_normal)} normal (${percent(at.normal, n_normal)})`);
    if (n_abnormal) parts.push(`found ${whole(at.abnormal)} of ${whole(n_abnormal)} abnormal (${percent(at.abnormal, n_abnormal)})`);
    const far = (at.threshold - threshold) * points_per_score;
    for (const part of line) part?.setAttribute("transform", `translate(${far} 0)`);
    output.textContent = parts.join(" · ") + (at.threshold === threshold ? " · the detector's threshold" : "");
  };
  input.value = steps.findIndex((step) => step.threshold === threshold);
  input.addEventListener("input", update);
  update();
}

for (const button of document.querySelectorAll("button[data-opens]")) {
  button.addEventListener("click", () => {
    const cell = document.getElementById(button.dataset.opens);
    for (const other of cell.closest("section").querySelectorAll(".cell[open]")) other.open = other === cell;
    for (let folded = cell; folded; folded = folded.parentElement.closest("details")) folded.open = true;
    cell.scrollIntoView({ block: "nearest" });
    cell.querySelector("summary").focus({ preventScroll: true });
  });
}

if (live.map) drawMap(live.map);

const charts = {};
for (const box of document.querySelectorAll(".series")) charts[box.dataset.name] = drawSeries(box, live.charts[box.dataset.name]);
for (const button of document.querySelectorAll("button[data-chart]")) {
  button.addEventListener("click", () => charts[button.dataset.chart](Number(button.dataset.alarm)));
}

function drawSeries(box, { channels, levels, labels, alarms, threshold, dated, zone, step, axis }) {
  const stage = box.querySelector(".stage"), canvas = box.querySelector("canvas");
  const output = box.querySelector("output"), readout = box.querySelector(".readout");
  const blue = "#0072B2", red = "#D55E00", orange = "#E69F00", ink = "#222222", rule = "#dddddd", soft = "#565c66";
  const left = 58, right = 10, panel = 84, gap = 18, band = labels.length ? 16 : 0, foot = 34;
  const scored = levels[0].score !== null, panels = channels.length + (scored ? 1 : 0);
  const height = panels * (panel + gap) + band + foot;
  const whole = [levels[0].x[0] - step / 2, levels[0].x.at(-1) + step / 2];
  let view = [...whole], current = -1, drag = null;
  // An unknown zone, such as an offset in an old browser, is written in UTC, and the axis says so.
  let written = dated ? zone || "UTC" : null;
  const formats = {};
  const format = (x, options) => {
    const key = JSON.stringify(options);
    try {
      formats[key] ??= new Intl.DateTimeFormat("en-GB", { timeZone: written, hourCycle: "h23", ...options });
    } catch {
      written = "UTC";
      formats[key] = new Intl.DateTimeFormat("en-GB", { timeZone: written, hourCycle: "h23", ...options });
    }
    return formats[key].format(x);
  };
  const two = "2-digit";
  const when = (x) => !dated ? Number(x.toPrecision(9)).toLocaleString("en") : format(x, { year: "numeric", month: "short", day: two, hour: two, minute: two, ...(step < 60000 ? { second: two } : {}), ...(step < 1000 ? { fractionalSecondDigits: 3 } : {}) });
  const toX = (x) => left + (x - view[0]) / (view[1] - view[0]) * (canvas.clientWidth - left - right);
  const fromX = (px) => view[0] + (px - left) / (canvas.clientWidth - left - right) * (view[1] - view[0]);
  const level = () => levels.slice(1).find(({ x }) => x.length > 1 && x[0] <= view[0] && x.at(-1) >= view[1]) || levels[0];
  const first = (x, place) => { let a = 0, b = x.length; while (a < b) { const m = (a + b) >> 1; if (x[m] < place) a = m + 1; else b = m; } return a; };

  function ticks() {
    const width = (view[1] - view[0]) / Math.max(2, Math.floor((canvas.clientWidth - left - right) / 90));
    if (!dated) {
      const power = 10 ** Math.floor(Math.log10(width)), size = [1, 2, 5, 10].find((one) => one * power >= width) * power;
      const found = [];
      for (let x = Math.ceil(view[0] / size) * size; x <= view[1]; x += size) found.push([x, Number(x.toPrecision(9)).toLocaleString("en")]);
      return found;
    }
    const second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;
    const sizes = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30].map((one) => one * second)
      .concat([1, 2, 5, 10, 15, 30].map((one) => one * minute), [1, 2, 3, 6, 12].map((one) => one * hour), [1, 2, 7, 14, 30, 91, 182, 365, 1826].map((one) => one * day));
    const size = sizes.find((one) => one >= width) || sizes.at(-1);
    // Ticks are at whole hours and midnights of the zone in which times are written.
    const parts = format(view[0], { year: "numeric", month: two, day: two, hour: two, minute: two, second: two }).match(/\d+/g).map(Number);
    const offset = Date.UTC(parts[2], parts[1] - 1, parts[0], parts[3], parts[4], parts[5]) - Math.floor(view[0] / 1000) * 1000;
    const found = [];
    for (let x = Math.ceil((view[0] + offset) / size) * size - offset; x <= view[1]; x += size) {
      const midnight = (x + offset) % day === 0;
      const short = size < second ? { minute: two, second: two, fractionalSecondDigits: 3 } : size < minute ? { hour: two, minute: two, second: two } : { hour: two, minute: two };
      found.push([x, midnight || size >= day ? format(x, { day: two, month: "short", ...(size >= 30 * day ? { year: "numeric" } : {}) }) : format(x, short)]);
    }
    return found;
  }

  function trace(pen, part, row, top) {
    const { x, breaks } = part, low = part.low[row], high = part.high ? part.high[row] : low;
    const a = Math.max(0, first(x, view[0]) - 1), b = Math.min(x.length, first(x, view[1]) + 1);
    let least = Infinity, most = -Infinity;
    for (let i = a; i < b; i++) {
      if (low[i] === null) continue;
      if (low[i] < least) least = low[i];
      if (high[i] > most) most = high[i];
    }
    if (least > most) return null;
    if (row === 0 && part === level().score && threshold !== null && view[0] === whole[0]) most = Math.max(most, threshold);
    const span = most - least || 1, toY = (value) => top + panel - 4 - (value - least) / span * (panel - 8);
    const broken = new Set(breaks);
    pen.beginPath();
    let down = false;
    for (let i = a; i < b; i++) {
      if (low[i] === null) { down = false; continue; }
      const px = toX(x[i]);
      if (!down || broken.has(i)) pen.moveTo(px, toY(low[i])); else pen.lineTo(px, toY(low[i]));
      if (high[i] !== low[i]) pen.lineTo(px, toY(high[i]));
      else if (!down) pen.lineTo(px + 0.5, toY(low[i]));
      down = true;
    }
    return { least, most, toY };
  }

  function draw() {
    const scale = window.devicePixelRatio || 1, pen = canvas.getContext("2d"), width = canvas.clientWidth, end = width - right;
    canvas.style.height = `${height}px`;
    canvas.width = width * scale;
    canvas.height = height * scale;
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";
    const shown = level(), marks = ticks();
    const spans = alarms.map(({ first: a, last: b }) => {
      const from = toX(a - step / 2), to = toX(b + step / 2), wide = Math.max(to - from, 3);
      return [(from + to - wide) / 2, wide];
    });
    for (let at = 0; at < panels; at++) {
      const isScore = at === channels.length, top = at * (panel + gap) + gap + (isScore ? band : 0), part = isScore ? shown.score : shown;
      pen.save();
      pen.beginPath();
      pen.rect(left, top, end - left, panel);
      pen.clip();
      alarms.forEach((alarm, i) => {
        pen.fillStyle = red;
        pen.globalAlpha = alarm.channel === at ? 0.3 : 0.13;
        pen.fillRect(spans[i][0], top, spans[i][1], panel);
      });
      pen.globalAlpha = 1;
      pen.lineWidth = 1;
      pen.strokeStyle = isScore ? ink : blue;
      const drawn = trace(pen, part, isScore ? 0 : at, top);
      if (drawn) pen.stroke();
      const worst = alarms.map((alarm, i) => (alarm.channel === at ? i : -1)).filter((i) => i >= 0);
      if (drawn && worst.length) {
        pen.save();
        const inside = new Path2D();
        for (const i of worst) inside.rect(spans[i][0], top, spans[i][1], panel);
        pen.clip(inside);
        trace(pen, part, at, top);
        pen.strokeStyle = red;
        pen.lineWidth = 1.8;
        pen.stroke();
        pen.restore();
        pen.fillStyle = red;
        for (const i of worst) {
          const px = toX(alarms[i].peak);
          pen.beginPath();
          pen.moveTo(px - 4, top);
          pen.lineTo(px + 4, top);
          pen.lineTo(px, top + 7);
          pen.fill();
        }
      }
      if (drawn && isScore && threshold !== null) {
        pen.strokeStyle = red;
        pen.setLineDash([5, 3]);
        pen.beginPath();
        pen.moveTo(left, drawn.toY(threshold));
        pen.lineTo(end, drawn.toY(threshold));
        pen.stroke();
        pen.setLineDash([]);
      }
      pen.restore();
      pen.strokeStyle = rule;
      pen.beginPath();
      pen.moveTo(left, top);
      pen.lineTo(left, top + panel);
      pen.lineTo(end, top + panel);
      pen.stroke();
      pen.fillStyle = soft;
      pen.textAlign = "right";
      if (drawn) {
        pen.fillText(String(Number(drawn.most.toPrecision(4))), left - 5, top + 12);
        pen.fillText(String(Number(drawn.least.toPrecision(4))), left - 5, top + panel - 2);
      }
      pen.textAlign = "left";
      pen.fillStyle = ink;
      pen.fillText(isScore ? "anomaly score" : channels[at], left + 4, top - 3);
    }
    const above = channels.length * (panel + gap) + 4;
    pen.fillStyle = orange;
    for (const [a, b] of labels) {
      if (b < view[0] || a > view[1]) continue;
      const from = Math.max(left, toX(a - step / 2)), to = Math.min(end, Math.max(toX(b + step / 2), from + 2));
      pen.fillRect(from, above, to - from, 10);
    }
    const bottom = panels * (panel + gap) + band;
    pen.fillStyle = ink;
    pen.textAlign = "center";
    for (const [x, text] of marks) {
      pen.strokeStyle = soft;
      pen.beginPath();
      pen.moveTo(toX(x), bottom);
      pen.lineTo(toX(x), bottom + 4);
      pen.stroke();
      pen.fillText(text, toX(x), bottom + 16);
    }
    pen.fillStyle = soft;
    pen.fillText(axis === "row" ? "row of the table" : axis + (dated && (zone || written !== "UTC") ? ` (${written})` : ""), (left + end) / 2, bottom + 30);
    if (drag) {
      pen.fillStyle = blue;
      pen.globalAlpha = 0.15;
      pen.fillRect(Math.min(...drag), 0, Math.abs(drag[1] - drag[0]), bottom);
      pen.globalAlpha = 1;
    }
  }

  function show(from, to, alarm = -1) {
    const span = Math.min(Math.max(to - from, 4 * step), whole[1] - whole[0]);
    from = Math.min(Math.max((from + to - span) / 2, whole[0]), whole[1] - span);
    view = [from, from + span];
    current = alarm;
    const inside = alarms.filter(({ first: a, last: b }) => b >= view[0] && a <= view[1]).length;
    const which = alarm < 0 ? `${inside} of ${alarms.length} alarms` : `alarm ${alarm + 1} of ${alarms.length}${alarms[alarm].channel < 0 ? "" : `, worst channel ${channels[alarms[alarm].channel]}`}`;
    output.textContent = `${when(view[0])} to ${when(view[1])}: ${which}`;
    draw();
  }
  const zoom = (factor, at = (view[0] + view[1]) / 2) => show(at - (at - view[0]) * factor, at + (view[1] - at) * factor);
  const move = (share) => { const far = Math.min(Math.max(share * (view[1] - view[0]), whole[0] - view[0]), whole[1] - view[1]); show(view[0] + far, view[1] + far); };
  const goTo = (i) => {
    const { first: a, last: b } = alarms[i], beside = Math.max(b - a, 30 * step);
    show(a - beside, b + beside, i);
  };
  const go = (by) => {
    if (!alarms.length) return;
    const centre = (view[0] + view[1]) / 2;
    const near = current >= 0 ? current + by : by > 0 ? alarms.findIndex(({ first: a }) => a > (view[0] === whole[0] ? view[0] : centre)) : alarms.findLastIndex(({ last: b }) => b < centre);
    goTo((near + alarms.length) % alarms.length);
  };
  const does = { in: () => zoom(0.5), out: () => zoom(2), earlier: () => move(-0.25), later: () => move(0.25), all: () => show(...whole), next: () => go(1), previous: () => go(-1) };
  for (const button of box.querySelectorAll("button")) button.addEventListener("click", () => does[button.dataset.does]());
  const keys = { ArrowRight: "later", ArrowLeft: "earlier", ArrowUp: "in", ArrowDown: "out", "+": "in", "=": "in", "-": "out", Home: "all", 0: "all", n: "next", p: "previous" };
  stage.addEventListener("keydown", (event) => {
    const name = keys[event.key];
    if (!name || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does[name]();
  });
  const placeOf = (event) => Math.min(Math.max(event.clientX - canvas.getBoundingClientRect().left, left), canvas.clientWidth - right);
  canvas.addEventListener("pointerdown", (event) => { if (event.button === 0) { drag = [placeOf(event), placeOf(event)]; canvas.setPointerCapture(event.pointerId); } });
  canvas.addEventListener("pointermove", (event) => {
    const px = placeOf(event), { x, low, high, score } = level(), near = (of) => Math.min(of.length - 1, Math.max(0, first(of, fromX(px) - step / 2)));
    const value = (part, row, i) => part.low[row][i] === null ? "–" : part.high && part.high[row][i] !== part.low[row][i] ? `${part.low[row][i]} to ${part.high[row][i]}` : String(part.low[row][i]);
    const i = near(x), words = channels.map((name, row) => `${name} ${value({ low, high }, row, i)}`);
    if (score && score.x.length) words.push(`score ${value(score, 0, near(score.x))}`);
    readout.textContent = `${when(x[i])}: ${words.join(" · ")}`;
    if (drag) { drag[1] = px; draw(); }
  });
  canvas.addEventListener("pointerup", () => {
    if (!drag) return;
    const [a, b] = drag.map(fromX).sort((one, other) => one - other), wide = Math.abs(drag[1] - drag[0]) > 4;
    drag = null;
    if (wide) show(a, b); else draw();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; draw(); });
  canvas.addEventListener("pointerleave", () => { readout.textContent = "\u00a0"; });
  canvas.addEventListener("dblclick", does.all);
  // Without Ctrl the wheel scrolls the page.
  canvas.addEventListener("wheel", (event) => { if (event.ctrlKey) { event.preventDefault(); zoom(event.deltaY > 0 ? 1.25 : 0.8, fromX(placeOf(event))); } }, { passive: false });
  new ResizeObserver(draw).observe(canvas);
  show(...whole);
  return (i) => { goTo(i); box.scrollIntoView({ block: "nearest" }); stage.focus({ preventScroll: true }); };
}

function drawMap({ places, labels, rows, sprite, side, across, curves, colours: ofChannels, texts }) {
  const box = document.getElementById("map"), canvas = box.querySelector("canvas");
  const shown = document.getElementById("map-shown"), legend = document.getElementById("map-legend");
  const names = labels ? [...new Set(labels)].sort((a, b) => String(a).localeCompare(String(b), "en", { numeric: true })) : [];
  const place = new Map(names.map((name, i) => [name, i]));
  // Ten colours that colour-blind readers can distinguish; more labels have other shapes.
  const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#332288", "#000000", "#960FF0"];
  const shapes = [null, [[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0, -1.2], [1.2, 1], [-1.2, 1]], [[0, -1.4], [1.4, 0], [0, 1.4], [-1.4, 0]]];
  const mark = (label) => {
    const i = place.get(label);
    return i === undefined || label === null
      ? { colour: "#6b6b6b", shape: null }
      : { colour: colours[i % colours.length], shape: shapes[Math.floor(i / colours.length) % shapes.length] };
  };
  const outline = (pen, shape, x, y, size) => {
    pen.beginPath();
    if (shape) shape.forEach(([a, b]) => pen.lineTo(x + size * a, y + size * b));
    else pen.arc(x, y, size, 0, 2 * Math.PI);
    pen.closePath();
  };
  const sheet = sprite ? Object.assign(new Image(), { src: sprite }) : null;
  let current = -1;
  const at = (i) => [8 + places[i][0] * (canvas.clientWidth - 16), 8 + (1 - places[i][1]) * (canvas.clientHeight - 16)];

  function draw() {
    const scale = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    pen.scale(scale, scale);
    places.forEach((_, i) => {
      const [x, y] = at(i);
      const { colour, shape } = mark(labels ? labels[i] : null);
      pen.fillStyle = colour;
      pen.globalAlpha = 0.75;
      outline(pen, shape, x, y, 3);
      pen.fill();
    });
    if (current < 0) return;
    const [x, y] = at(current);
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    outline(pen, null, x, y, 7);
    pen.stroke();
  }

  function show(i) {
    current = i;
    draw();
    shown.replaceChildren();
    if (i < 0) { shown.style.visibility = "hidden"; return; }
    const line = (text) => shown.append(Object.assign(document.createElement("div"), { textContent: text }));
    if (sheet || curves) {
      const small = document.createElement("canvas"), pen = small.getContext("2d");
      small.width = small.height = sheet ? side : 84;
      if (sheet) pen.drawImage(sheet, (i % across) * side, Math.floor(i / across) * side, side, side, 0, 0, side, side);
      else {
        curves[i].forEach((curve, channel) => {
          pen.beginPath();
          pen.strokeStyle = ofChannels[channel];
          curve.forEach((value, t) => pen.lineTo(84 * t / (curve.length - 1 || 1), 82 - 80 * value));
          pen.stroke();
        });
      }
      shown.append(small);
    }
    if (texts) texts[i].forEach(line);
    line(rows[i] + (labels && labels[i] !== null ? `: ${labels[i]}` : ""));
    const [x, y] = at(i);
    shown.style.left = `${Math.min(x + 12, Math.max(0, canvas.clientWidth - 150))}px`;
    shown.style.top = `${Math.max(0, Math.min(y + 12, canvas.clientHeight - 120))}px`;
    shown.style.visibility = "visible";
  }

  canvas.addEventListener("pointermove", (event) => {
    const edge = canvas.getBoundingClientRect(), x = event.clientX - edge.left, y = event.clientY - edge.top;
    let best = -1, nearest = 400;
    places.forEach((_, i) => {
      const [a, b] = at(i), far = (a - x) ** 2 + (b - y) ** 2;
      if (far < nearest) { nearest = far; best = i; }
    });
    if (best !== current) show(best);
  });
  canvas.addEventListener("pointerleave", () => show(-1));
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") show(-1);
    if (!step) return;
    event.preventDefault();
    show((current + step + places.length) % places.length);
  });
  for (const name of names.slice(0, 30)) {
    const item = document.createElement("span"), dot = document.createElement("canvas");
    const { colour, shape } = mark(name), pen = dot.getContext("2d");
    dot.width = dot.height = 28;
    pen.fillStyle = colour;
    outline(pen, shape, 14, 14, 9);
    pen.fill();
    item.append(dot, name === null ? "no label" : String(name));
    legend.append(item);
  }
  if (names.length > 30) legend.append(`and ${names.length - 30} more labels`);
  new ResizeObserver(draw).observe(canvas);
}
