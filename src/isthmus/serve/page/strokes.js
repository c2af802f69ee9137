// Strokes as an image: lines of points in [0, 1] to h × w values in [0, 1], ink being 1.

const OVERSAMPLING = 8; // cells along a pixel's side, which are averaged
const MAX_SCALE = 8;

// Statistics of the ink in the reference images, which drawings are adapted to: centre of mass (as
// shares of the image's sides), width and height of large ones, line thickness (as shares of the
// longer side), and whether ink is dark on a light ground. Thickness is twice the area divided by
// the length of the edge.
export function inkOf(images) {
  const borders = [];
  for (const image of images) {
    const [h, w] = [image.length, image[0].length];
    for (let x = 0; x < w; x++) borders.push(image[0][x], image[h - 1][x]);
    for (let y = 0; y < h; y++) borders.push(image[y][0], image[y][w - 1]);
  }
  const ground = borders.length ? median(borders) : 0;
  const dark = ground > 0.5;
  const widths = [], heights = [], xs = [], ys = [], thick = [];
  for (const image of images) {
    const [h, w] = [image.length, image[0].length];
    const long = Math.max(h, w);
    const ink = (y, x) => (y < 0 || x < 0 || y >= h || x >= w ? 0 : Math.min(1, Math.abs(image[y][x] - ground) / Math.max(ground, 1 - ground)));
    let top = h, bottom = -1, left = w, right = -1, mass = 0, sx = 0, sy = 0, edge = 0;
    for (let y = -1; y < h; y++) {
      for (let x = -1; x < w; x++) {
        const value = ink(y, x);
        edge += Math.abs(value - ink(y, x + 1)) + Math.abs(value - ink(y + 1, x));
        if (y < 0 || x < 0) continue;
        mass += value; sx += value * (x + 0.5); sy += value * (y + 0.5);
        if (value > 0.3) { top = Math.min(top, y); bottom = Math.max(bottom, y); left = Math.min(left, x); right = Math.max(right, x); }
      }
    }
    if (bottom < 0 || !edge) continue;
    widths.push((right - left + 1) / long);
    heights.push((bottom - top + 1) / long);
    xs.push(sx / mass / w); ys.push(sy / mass / h);
    // An edge measured along pixels is longer than the line's, on average by 4 / pi.
    thick.push((2 * mass) / (edge * Math.PI / 4) / long);
  }
  if (!widths.length) return { dark, width: 0.7, height: 0.7, x: 0.5, y: 0.5, thickness: 0.09 };
  return {
    dark, width: quantile(widths, 0.9), height: quantile(heights, 0.9), x: median(xs), y: median(ys),
    thickness: Math.min(0.25, Math.max(0.04, median(thick))),
  };
}

// Draws strokes into h × w; with fit they are scaled and moved to match the reference ink.
export function imageOf(strokes, h, w, ink, fit) {
  const long = Math.max(h, w);
  const [width, height] = [w / long, h / long]; // of the paper, in units of its longer side
  let placed = strokes.map((stroke) => stroke.map(([x, y]) => [x * width, y * height]));
  if (fit) {
    const points = placed.flat();
    const [left, right] = ends(points.map(([x]) => x));
    const [top, bottom] = ends(points.map(([, y]) => y));
    // Bounded, because a dot or an upright line has a side of zero.
    const growth = (side, drawn) => Math.max(side - ink.thickness, side / 3) / Math.max(drawn, 1e-9);
    const scale = Math.min(growth(ink.width, right - left), growth(ink.height, bottom - top), MAX_SCALE);
    placed = placed.map((stroke) => stroke.map(([x, y]) => [(x - (left + right) / 2) * scale + width / 2, (y - (top + bottom) / 2) * scale + height / 2]));
    const [x, y] = centre(raster(placed, h, w, ink.thickness));
    const move = [ink.x * width - x, ink.y * height - y];
    placed = placed.map((stroke) => stroke.map(([px, py]) => [px + move[0], py + move[1]]));
  }
  return raster(placed, h, w, ink.thickness);
}

function raster(strokes, h, w, thickness) {
  const long = Math.max(h, w);
  const canvas = document.createElement('canvas');
  canvas.width = w * OVERSAMPLING;
  canvas.height = h * OVERSAMPLING;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.scale(long * OVERSAMPLING, long * OVERSAMPLING);
  trace(context, strokes, thickness);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const rows = Array.from({ length: h }, () => new Array(w).fill(0));
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) rows[Math.floor(y / OVERSAMPLING)][Math.floor(x / OVERSAMPLING)] += data[4 * (y * canvas.width + x) + 3];
  }
  return rows.map((row) => row.map((sum) => sum / (255 * OVERSAMPLING * OVERSAMPLING)));
}

export function trace(context, strokes, thickness) {
  context.lineWidth = thickness;
  context.lineCap = context.lineJoin = 'round';
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    // A stroke of one point is a dot.
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...point);
    context.stroke();
  }
}

function centre(rows) {
  const long = Math.max(rows.length, rows[0].length);
  let mass = 0, sx = 0, sy = 0;
  rows.forEach((row, y) => row.forEach((value, x) => { mass += value; sx += value * (x + 0.5); sy += value * (y + 0.5); }));
  return mass ? [sx / mass / long, sy / mass / long] : [0.5, 0.5];
}

function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function median(values) {
  return quantile(values, 0.5);
}
