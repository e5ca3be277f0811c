// Draws photo, masks, points. Outlines and whole maps are there at once; windows come refined.

const OPACITY = 0.4;
const POINT = "#ff9800";

// A map of bytes as a canvas, by a function from a value and its neighbours to RGBA.
function painted(width, height, color) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = color(i);
  context.putImageData(image, 0, 0);
  return canvas;
}

const rgba = ([red, green, blue], alpha) =>
  ((Math.round(255 * alpha) << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// A mask of probabilities: translucent inside, its border opaque.
export function maskPicture({ side, values }, color) {
  const inner = rgba(color, OPACITY);
  const border = rgba(color, 1);
  // The line is a cell wide where cells are large, two where they are those of the screen.
  const wide = side > 256 ? 2 : 1;
  const outside = (x, y) =>
    x >= 0 && y >= 0 && x < side && y < side && values[y * side + x] < 128;
  return painted(side, side, (i) => {
    if (values[i] < 128) return 0;
    const x = i % side;
    const y = (i - x) / side;
    return outside(x - wide, y) || outside(x + wide, y) || outside(x, y - wide) || outside(x, y + wide)
      ? border : inner;
  });
}

// A label map; classes that are not shown stay clear.
export function labelPicture(values, width, height, colors, shown) {
  const table = colors.map((color, label) => (shown(label) ? rgba(color, 0.55) : 0));
  return painted(width, height, (i) => table[values[i]] ?? 0);
}

// Uncertainty of 0..255: clear where sure, bright yellow where not.
export function uncertaintyPicture({ width, height, uncertainty }) {
  return painted(width, height, (i) => {
    const value = uncertainty[i];
    return rgba([255, value, Math.max(0, 2 * value - 360)], 0.8 * value / 255);
  });
}

export class Picture {
  constructor(canvas, view) {
    this.canvas = canvas;
    this.view = view;
    this.context = canvas.getContext("2d");
  }

  // state: {photo, items, slide, chosen, hovered, steps}; an item has draw paths or maps.
  draw(state) {
    const { context, view, canvas } = this;
    const ratio = view.ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!state.photo) return;
    this.#toPhoto();
    context.imageSmoothingEnabled = view.scale < 4;
    context.drawImage(state.photo, 0, 0, view.photo.width, view.photo.height);
    const divide = state.slide * canvas.width;
    this.#part(0, divide, () => this.#masks(state, "coarse"));
    this.#part(divide, canvas.width, () => this.#masks(state, "rendered"));
    if (state.steps) this.#points(state.steps);
    if (state.slide > 0 && state.slide < 1) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = "#ffffff";
      context.fillRect(divide - ratio, 0, 2 * ratio, canvas.height);
    }
  }

  #toPhoto() {
    const { scale, x, y, ratio } = this.view;
    this.context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
  }

  #part(from, to, draw) {
    if (to <= from) return;
    const { context, canvas } = this;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(from, 0, to - from, canvas.height);
    context.clip();
    this.#toPhoto();
    draw();
    context.restore();
  }

  #masks(state, kind) {
    const { context, view } = this;
    if (state.maps) {
      const refined = kind === "rendered" ? state.refined : null;
      context.save();
      if (refined) this.#without(refined.window);
      context.imageSmoothingEnabled = false;
      context.drawImage(state.maps[kind], 0, 0, view.photo.width, view.photo.height);
      context.restore();
      if (refined) this.#window(refined);
      return;
    }
    for (const item of state.items) {
      const strong = item === state.chosen || item === state.hovered;
      const color = `rgb(${item.color.join(",")})`;
      const refined = kind === "rendered" ? item.refined : null;
      context.save();
      if (refined) this.#without(refined.window);
      context.globalAlpha = strong ? OPACITY + 0.1 : OPACITY;
      context.fillStyle = color;
      context.fill(item.paths[kind].fill, "evenodd");
      context.globalAlpha = 1;
      context.strokeStyle = color;
      context.lineWidth = (strong ? 3 : 1.5) / view.scale;
      context.stroke(item.paths[kind].stroke);
      context.restore();
      if (refined) this.#window(refined);
    }
  }

  // Leaves out what a refined window replaces.
  #without([x0, y0, x1, y1]) {
    this.context.beginPath();
    this.context.rect(-1e6, -1e6, 2e6, 2e6);
    this.context.rect(x0, y0, x1 - x0, y1 - y0);
    this.context.clip("evenodd");
  }

  #window({ window: [x0, y0, x1, y1], picture }) {
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(picture, x0, y0, x1 - x0, y1 - y0);
  }

  #points({ window: [x0, y0, x1, y1], picture, points }) {
    const { context, view } = this;
    this.#toPhoto();
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, x0, y0, x1 - x0, y1 - y0);
    context.fillStyle = POINT;
    const radius = 1.5 / view.scale;
    for (const [x, y] of points) {
      context.beginPath();
      context.arc(x0 + x * (x1 - x0), y0 + y * (y1 - y0), radius, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
