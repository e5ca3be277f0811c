// Renders windows of masks as the package does (layers/regions.py, `render_windows`): on a regular
// grid, which is doubled again and again and predicted anew where it is least certain. Points are
// in [0, 1] of the object's box, and so are windows. One window is rendered after the other: each is
// there sooner, and the memory of one is enough.

import { PointHead } from "./points.js";

export class Renderer {
  // model: what explore/static.py says of it; arrays: name to typed array.
  constructor(model, arrays) {
    this.model = model;
    this.head = new PointHead(model, arrays);
    this.free = Promise.resolve();
  }

  // The steps of `Scene.explain`: {side, logits, uncertainty, points}, side * side values row by
  // row and points as pairs in [0, 1] of the window, which is xyxy in pixels of the photo.
  steps(index, window, side, signal) {
    return this.#inTurn(async () => {
      const found = [];
      for await (const step of this.#rendered(index, window, side, signal)) found.push(step);
      return found;
    });
  }

  // What `work` gives, which begins when all that came before has ended, well or not.
  #inTurn(work) {
    const result = this.free.then(work);
    this.free = result.catch(() => {});
    return result;
  }

  // One step after another, so that whoever wants the last one keeps no other.
  async *#rendered(index, window, side, signal) {
    signal?.throwIfAborted();
    const { box, label } = this.model.objects[index];
    const object = this.head.of(index, label);
    const { start, doublings, points } = this.model.plans[side];
    const inBox = window.map((v, i) => (v - box[i % 2]) / (box[i % 2 + 2] - box[i % 2]));
    let cells = Uint32Array.from({ length: start * start }, (_, i) => i);
    let logits = new Float32Array(start * start);
    let uncertainty = null;
    for (let step = 0, width = start; step <= doublings; step++, width *= 2) {
      // The page stays awake between steps, and may have moved on.
      await new Promise((done) => setTimeout(done));
      signal?.throwIfAborted();
      if (step > 0) {
        logits = doubled(logits, width / 2);
        uncertainty = logits.map((v) => -Math.abs(v));
        cells = least(logits.map(Math.abs), Math.min(points, logits.length));
      }
      const places = placesOf(cells, width);
      this.head.predict(object, clipped(places, inBox)).forEach((v, i) => { logits[cells[i]] = v; });
      uncertainty ??= logits.map((v) => -Math.abs(v));
      yield { side: width, logits, uncertainty, points: places };
      uncertainty = null;
    }
  }

  // Bytes of 0..255, as `ShownInstances.window` has them: 0 where a pixel's centre is not in the box.
  async probabilities(index, window, side, signal) {
    const logits = await this.#inTurn(async () => {
      let last = null;
      for await (const step of this.#rendered(index, window, side, signal)) last = step.logits;
      return last;
    });
    const { box } = this.model.objects[index];
    const centre = (axis, i) => window[axis] + (i + 0.5) / side * (window[axis + 2] - window[axis]);
    const inside = [0, 1].map((axis) => Uint8Array.from({ length: side }, (_, i) =>
      centre(axis, i) >= box[axis] && centre(axis, i) <= box[axis + 2]));
    return Uint8Array.from(logits, (v, i) =>
      inside[0][i % side] && inside[1][Math.floor(i / side)] ? Math.round(255 / (1 + Math.exp(-v))) : 0);
  }
}

// Centres of cells of a map, as pairs in [0, 1].
function placesOf(cells, width) {
  const places = new Float32Array(2 * cells.length);
  cells.forEach((cell, i) => {
    places[2 * i] = (cell % width + 0.5) / width;
    places[2 * i + 1] = (Math.floor(cell / width) + 0.5) / width;
  });
  return places;
}

// Places of a window in the box; beyond the box its border is repeated.
function clipped(places, [x0, y0, x1, y1]) {
  return places.map((v, i) =>
    Math.min(Math.max(i % 2 ? v * (y1 - y0) + y0 : v * (x1 - x0) + x0, 0), 1));
}

// Bilinear x2 of a square map with half-pixel centres and a repeated border (ops/resize.py).
export function doubled(map, side) {
  const tall = new Float32Array(2 * side * side);
  for (let y = 0; y < side; y++) {
    const [row, above, below] = [y, Math.max(y - 1, 0), Math.min(y + 1, side - 1)].map((i) => i * side);
    for (let x = 0; x < side; x++) {
      tall[2 * row + x] = 0.75 * map[row + x] + 0.25 * map[above + x];
      tall[2 * row + side + x] = 0.75 * map[row + x] + 0.25 * map[below + x];
    }
  }
  const result = new Float32Array(4 * side * side);
  for (let i = 0; i < tall.length; i++) {
    const x = i % side;
    result[2 * i] = 0.75 * tall[i] + 0.25 * tall[x ? i - 1 : i];
    result[2 * i + 1] = 0.75 * tall[i] + 0.25 * tall[x < side - 1 ? i + 1 : i];
  }
  return result;
}

// Places of the `count` least values, none of them negative; of equal ones the first.
export function least(values, count) {
  // The bits of such floats are in their order. Those of the last bin that is needed are sorted.
  const bits = new Uint32Array(values.buffer);
  const bins = new Uint32Array(2 ** 16);
  for (let i = 0; i < bits.length; i++) bins[bits[i] >>> 15]++;
  let [last, before] = [0, 0];
  while (before + bins[last] < count) before += bins[last++];
  const chosen = new Uint32Array(count);
  const candidates = [];
  let number = 0;
  for (let i = 0; i < bits.length; i++) {
    const bin = bits[i] >>> 15;
    if (bin < last) chosen[number++] = i;
    else if (bin === last) candidates.push(i);
  }
  candidates.sort((a, b) => values[a] - values[b] || a - b);
  chosen.set(candidates.slice(0, count - number), number);
  return chosen;
}
