// An image file read as the library does: on a white ground, resized with the bilinear filter of
// Pillow, which averages when it shrinks.

const LARGEST = 4096; // pixels a side; the browser scales larger images down first

export async function readImage(file, schema) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`Got ${file.name}, which is damaged or no image that a browser shows; expected PNG, JPEG or the like.`);
  }
  const shrink = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * shrink)), Math.max(1, Math.round(bitmap.height * shrink)));
  const context = canvas.getContext('2d');
  context.fillStyle = 'white';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const [h, w, channels] = schema.schema.shape;
  const whole = schema.schema.dtype === 'uint8';
  const planes = (channels ?? 1) < 3 ? [grey(data)] : [0, 1, 2, 3].slice(0, channels).map((channel) => plane(data, channel));
  const sized = planes.map((one) => resize(one, canvas.width, canvas.height, w, h));
  const value = (one) => (whole ? Math.min(255, Math.max(0, Math.round(one))) : Math.min(1, Math.max(0, one / 255)));
  return Array.from({ length: h }, (_, y) => Array.from({ length: w }, (__, x) => {
    const pixel = sized.map((one) => value(one[y * w + x]));
    return channels === undefined ? pixel[0] : pixel;
  }));
}

function plane(data, channel) {
  return Float32Array.from({ length: data.length / 4 }, (_, at) => data[4 * at + channel]);
}

function grey(data) {
  // ITU-R BT.601, as Pillow weighs colours.
  return Float32Array.from({ length: data.length / 4 }, (_, at) => 0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2]);
}

function resize(values, width, height, w, h) {
  const across = new Float32Array(height * w);
  weightsOf(width, w).forEach((weights, x) => {
    for (let y = 0; y < height; y++) for (const [from, weight] of weights) across[y * w + x] += weight * values[y * width + from];
  });
  const out = new Float32Array(h * w);
  weightsOf(height, h).forEach((weights, y) => {
    for (let x = 0; x < w; x++) for (const [from, weight] of weights) out[y * w + x] += weight * across[from * w + x];
  });
  return out;
}

// Weights of the source pixels of each new pixel: a triangle as wide as two of the larger pixels.
function weightsOf(from, to) {
  const scale = from / to;
  const reach = Math.max(1, scale);
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const weights = [];
    for (let old = Math.max(0, Math.floor(centre - reach)); old < Math.min(from, Math.ceil(centre + reach)); old++) {
      const weight = 1 - Math.abs(old + 0.5 - centre) / reach;
      if (weight > 0) weights.push([old, weight]);
    }
    const sum = weights.reduce((total, [, weight]) => total + weight, 0);
    return weights.map(([old, weight]) => [old, weight / sum]);
  });
}
