// The drawing area: strokes, by mouse, finger or keyboard, of points in [0, 1].
import { trace } from './strokes.js';

const STEP = 1 / 56; // how far an arrow key moves the pen

export class Paper {
  constructor(canvas, h, w, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.thickness = 0.08;
    this.strokes = [];
    this.pen = [0.5, 0.5];
    this.down = false; // the keyboard's pen is on the paper
    this.keys = false; // the keyboard was used last
    const long = Math.max(h, w);
    this.shares = [w / long, h / long];
    canvas.width = Math.round(560 * this.shares[0]);
    canvas.height = Math.round(560 * this.shares[1]);
    this.stop = new AbortController();
    const { signal } = this.stop;
    const on = (name, listener) => canvas.addEventListener(name, listener, { signal });
    on('pointerdown', (event) => this.begin(event));
    on('pointermove', (event) => this.follow(event));
    for (const name of ['pointerup', 'pointercancel']) on(name, () => this.end());
    on('keydown', (event) => this.press(event));
    for (const name of ['focus', 'blur']) on(name, () => this.paint());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.paint(), { signal });
    this.paint();
  }

  close() { this.stop.abort(); }

  wipe() {
    this.strokes = [];
    this.down = false;
    this.paint();
  }

  clear() {
    this.wipe();
    this.changed();
  }

  undo() {
    this.strokes.pop();
    this.down = false;
    this.update();
  }

  update() {
    this.paint();
    this.changed();
  }

  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.down = this.keys = false;
    this.drawing = true;
    this.strokes.push([this.place(event)]);
    this.update();
  }

  follow(event) {
    if (!this.drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.strokes.at(-1).push(this.place(one));
    this.update();
  }

  end() { this.drawing = false; }

  press(event) {
    this.keys = true;
    const step = STEP * (event.shiftKey ? 4 : 1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) {
      this.pen = this.pen.map((at, i) => Math.min(1, Math.max(0, at + moves[event.key][i])));
      if (this.down) this.strokes.at(-1).push(this.pen);
      this.down ? this.update() : this.paint();
    } else if (event.key === ' ') {
      this.down = !this.down;
      if (this.down) this.strokes.push([this.pen]);
      this.update();
    } else if (event.key === 'Delete') this.clear();
    else if (event.key === 'Backspace') this.undo();
    else return;
    event.preventDefault();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  paint() {
    const context = this.canvas.getContext('2d');
    const { width, height } = this.canvas;
    const long = Math.max(width, height);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.canvas);
    context.strokeStyle = style.color;
    context.scale(long, long);
    const own = ([x, y]) => [x * this.shares[0], y * this.shares[1]];
    trace(context, this.strokes.map((stroke) => stroke.map(own)), this.thickness);
    if (this.keys && document.activeElement === this.canvas) {
      const [x, y] = own(this.pen);
      context.strokeStyle = style.outlineColor;
      context.lineWidth = this.down ? 0.02 : 0.008;
      context.beginPath();
      context.arc(x, y, 0.03, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
