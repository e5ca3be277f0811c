// The point head: features of a point from the maps and from the coarse mask, and an MLP of them
// (pointrend.py, `PointMLP`). Maps and coarse masks are projected before they are sampled, cells of
// the maps when they are first read.

export class PointHead {
  constructor(model, arrays) {
    this.model = model;
    this.arrays = arrays;
    const { hidden, coarse, each_layer: eachLayer } = model.mlp;
    this.hidden = hidden;
    // A layer and the one before it, for one point after another.
    this.layers = [new Float64Array(hidden), new Float64Array(hidden)];
    this.coarse = coarse;
    // What every layer sees of the layer before; the coarse prediction's rows come last.
    this.kernels = model.mlp.layers.map((_, i) => Float64Array.from(arrays[`kernel${i}`]));
    this.seeing = eachLayer ? this.kernels.length : 1;
    let first = 0;
    this.maps = model.maps.map((map, i) => {
      const own = this.#map(map, i, first);
      first += map.channels;
      return own;
    });
    this.fineChannels = first;
  }

  #map({ height, width, channels, stride }, i, first) {
    // The row of `features` of each cell; cells far from every outline have none.
    const bits = this.arrays[`kept${i}`];
    const rows = new Int32Array(height * width).fill(-1);
    let number = 0;
    for (let cell = 0; cell < rows.length; cell++) {
      if (bits[cell >> 3] >> (cell & 7) & 1) rows[cell] = number++;
    }
    const features = this.arrays[`features${i}`];
    const projected = new Float64Array(number * this.hidden);
    return { height, width, channels, stride, first, rows, features, projected, done: new Uint8Array(number) };
  }

  // What all points of an object share.
  of(index, label) {
    const { coarse_side: side, box_in_input: boxes } = this.model;
    const cells = side * side;
    const logits = this.arrays.coarse.subarray(index * cells * this.coarse, (index + 1) * cells * this.coarse);
    const last = this.kernels.length - 1;
    const layers = this.kernels.slice(0, this.seeing).map((kernel, layer) => {
      const { inputs, outputs } = this.model.mlp.layers[layer];
      const wide = layer === last ? 1 : outputs;
      const result = new Float64Array(cells * wide);
      for (let cell = 0; cell < cells; cell++) {
        for (let k = 0; k < this.coarse; k++) {
          const row = (inputs - this.coarse + k) * outputs + (layer === last ? label : 0);
          const value = logits[cell * this.coarse + k];
          for (let j = 0; j < wide; j++) result[cell * wide + j] += value * kernel[row + j];
        }
      }
      return result;
    });
    return { index, label, box: boxes[index], layers };
  }

  // Logits of an object at points, pairs in [0, 1] of its box.
  predict(object, places) {
    const logits = new Float32Array(places.length / 2);
    for (let i = 0; i < logits.length; i++) logits[i] = this.#logit(object, places[2 * i], places[2 * i + 1]);
    return logits;
  }

  #logit(object, u, v) {
    const [x0, y0, x1, y1] = object.box;
    let layer = this.layers[0].fill(0);
    for (const map of this.maps) {
      const taps = around((u * (x1 - x0) + x0) / map.stride, (v * (y1 - y0) + y0) / map.stride, map.width, map.height);
      // Far from every outline there are no features: the whole mask says what is there.
      if (taps.some(([cell]) => map.rows[cell] < 0)) return this.#known(object.index, u, v);
      for (const [cell, weight] of taps) addScaled(layer, weight, this.#projected(map, map.rows[cell]), 0);
    }
    const side = this.model.coarse_side;
    const coarse = around(u * side, v * side, side, side);
    const last = this.kernels.length - 1;
    for (let i = 0; i < last; i++) {
      if (i > 0) layer = this.#next(layer, i);
      if (i < this.seeing) {
        for (const [cell, weight] of coarse) addScaled(layer, weight, object.layers[i], cell * this.hidden);
      }
      const bias = this.arrays[`bias${i}`];
      for (let j = 0; j < layer.length; j++) layer[j] = Math.max(layer[j] + bias[j], 0);
    }
    const { outputs } = this.model.mlp.layers[last];
    let logit = this.arrays[`bias${last}`][object.label];
    for (let j = 0; j < layer.length; j++) logit += layer[j] * this.kernels[last][j * outputs + object.label];
    if (last < this.seeing) for (const [cell, weight] of coarse) logit += weight * object.layers[last][cell];
    return logit;
  }

  #projected(map, row) {
    const { hidden } = this;
    const result = map.projected.subarray(row * hidden, (row + 1) * hidden);
    if (!map.done[row]) {
      map.done[row] = 1;
      for (let c = 0; c < map.channels; c++) {
        addScaled(result, map.features[row * map.channels + c], this.kernels[0], (map.first + c) * hidden);
      }
    }
    return result;
  }

  // A hidden layer's product with the one before, most of which a ReLU has made zero.
  #next(before, layer) {
    const result = this.layers[layer % 2].fill(0);
    for (let i = 0; i < before.length; i++) {
      if (before[i] !== 0) addScaled(result, before[i], this.kernels[layer], i * this.hidden);
    }
    return result;
  }

  #known(index, u, v) {
    const { side, known_unit: unit } = this.model;
    const inner = (place) => Math.min(Math.max(place * side, 0.5), side - 0.5);
    const first = index * side * side;
    return around(inner(u), inner(v), side, side).reduce(
      (total, [cell, weight]) => total + weight * this.arrays.known[first + cell] * unit, 0);
  }
}

function addScaled(total, value, values, first) {
  for (let j = 0; j < total.length; j++) total[j] += value * values[first + j];
}

// [cell, weight] of the neighbours of a place in pixels of a map, where there is one that counts.
function around(x, y, width, height) {
  const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
  const [right, bottom] = [x - 0.5 - left, y - 0.5 - top];
  const taps = [];
  for (let dy = 0; dy < 2; dy++) {
    for (let dx = 0; dx < 2; dx++) {
      const weight = (dx ? right : 1 - right) * (dy ? bottom : 1 - bottom);
      const inside = left + dx >= 0 && left + dx < width && top + dy >= 0 && top + dy < height;
      if (inside && weight > 0) taps.push([(top + dy) * width + left + dx, weight]);
    }
  }
  return taps;
}
