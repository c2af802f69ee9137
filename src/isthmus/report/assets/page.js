"use strict";
const live = JSON.parse(document.getElementById("live").textContent);
const percent = (part, whole) => `${(100 * part / whole).toFixed(2)} %`;

for (const box of document.querySelectorAll(".slider")) {
  const { steps, n, n_normal, n_abnormal, threshold, points_per_score } = live.steps[box.dataset.name];
  const line = ["threshold", "threshold-label"].map((part) => document.getElementById(`scores-${box.dataset.name}-${part}`));
  const input = box.querySelector("input"), output = box.querySelector("output");
  const update = () => {
    const at = steps[Number(input.value)];
    const parts = [`threshold ${at.threshold.toPrecision(4)}: ${at.all} of ${n} classified as abnormal (${percent(at.all, n)})`];
    if (n_normal) parts.push(`false alarms ${at.normal} of ${n_normal} normal (${percent(at.normal, n_normal)})`);
    if (n_abnormal) parts.push(`found ${at.abnormal} of ${n_abnormal} abnormal (${percent(at.abnormal, n_abnormal)})`);
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
    for (const other of cell.parentElement.querySelectorAll(".cell[open]")) other.open = other === cell;
    cell.open = true;
    cell.scrollIntoView({ block: "nearest" });
    cell.querySelector("summary").focus({ preventScroll: true });
  });
}

if (live.map) drawMap(live.map);

function drawMap({ places, labels, rows, sprite, side, across, curves, texts }) {
  const box = document.getElementById("map"), canvas = box.querySelector("canvas");
  const shown = document.getElementById("map-shown"), legend = document.getElementById("map-legend");
  const names = labels ? [...new Set(labels)].sort((a, b) => String(a).localeCompare(String(b), "en", { numeric: true })) : [];
  const place = new Map(names.map((name, i) => [name, i]));
  // Eight colours that colour-blind readers can distinguish; more labels have other shapes.
  const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#332288"];
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
        const all = curves[i].flat(), low = Math.min(...all), span = Math.max(...all) - low || 1;
        for (const curve of curves[i]) {
          pen.beginPath();
          curve.forEach((value, t) => pen.lineTo(84 * t / (curve.length - 1 || 1), 82 - 80 * (value - low) / span));
          pen.stroke();
        }
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
