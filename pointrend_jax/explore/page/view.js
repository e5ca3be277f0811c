// Which part of the photo is seen: a scale and an offset, changed by wheel, fingers and keys.

const LARGEST = 256; // screen pixels a pixel of the photo

export class View {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.photo = { width: 1, height: 1 };
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fingers = new Map();
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.#up(event));
    }
    new ResizeObserver(() => this.#resized()).observe(canvas);
  }

  // Device pixels a CSS pixel; the canvas has device pixels, all else here has CSS pixels.
  get ratio() { return globalThis.devicePixelRatio || 1; }
  get width() { return this.canvas.clientWidth; }
  get height() { return this.canvas.clientHeight; }

  fitting() { return Math.min(this.width / this.photo.width, this.height / this.photo.height); }

  fit() { this.show([0, 0, this.photo.width, this.photo.height], 1); }

  // Shows a window of the photo, with a margin.
  show([x0, y0, x1, y1], margin = 0.8) {
    const scale = margin * Math.min(this.width / (x1 - x0), this.height / (y1 - y0));
    this.scale = Math.min(scale, LARGEST);
    this.x = this.width / 2 - this.scale * (x0 + x1) / 2;
    this.y = this.height / 2 - this.scale * (y0 + y1) / 2;
    this.changed();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const least = Math.min(this.fitting(), 1) / 2;
    const scale = Math.min(Math.max(this.scale * factor, least), LARGEST);
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.changed();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.changed();
  }

  toPhoto(x, y) { return [(x - this.x) / this.scale, (y - this.y) / this.scale]; }

  // The visible part of the photo, in its pixels, or null.
  window() {
    const [x0, y0] = this.toPhoto(0, 0);
    const [x1, y1] = this.toPhoto(this.width, this.height);
    return cut([x0, y0, x1, y1], [0, 0, this.photo.width, this.photo.height]);
  }

  #resized() {
    const whole = this.scale === this.fitting() || this.canvas.width === 0;
    this.canvas.width = Math.round(this.width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    if (whole) this.fit();
    else this.changed();
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp(-event.deltaY * lines / 400), event.offsetX, event.offsetY);
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.moved = 0;
    this.canvas.classList.add("moving");
  }

  #move(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    this.fingers.set(event.pointerId, now);
    if (!other) {
      this.pan(now[0] - before[0], now[1] - before[1]);
      return;
    }
    const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
    this.zoom(apart(now) / Math.max(apart(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  #up(event) {
    this.fingers.delete(event.pointerId);
    if (!this.fingers.size) this.canvas.classList.remove("moving");
  }
}

// The part that two windows share, or null.
export function cut(a, b) {
  const both = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return both[2] > both[0] && both[3] > both[1] ? both : null;
}
