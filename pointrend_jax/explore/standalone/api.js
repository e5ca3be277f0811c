// Answers what the page otherwise asks of its server (page/api.js has the same functions): there is
// one photo, and its windows are rendered here.

import { Renderer } from "./render.js";

const content = (id) => document.getElementById(id).textContent;
const { description, photo, model, sides, parts } = JSON.parse(content("about"));
const TYPES = { float32: Float32Array, float16: Uint16Array, int8: Int8Array, uint8: Uint8Array };
let renderer = null;

export async function start() {
  renderer = new Renderer(model, await arrays());
  return { scene: "photo", opens: false, ...sides };
}

// {name: typed array} of what lies packed in the page.
async function arrays() {
  const text = atob(content("arrays"));
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return Object.fromEntries(parts.map(({ name, type, start, length }) => {
    const values = new TYPES[type](buffer, start, length);
    return [name, type === "float16" ? widened(values) : values];
  }));
}

// float16 as it lies in memory to float32.
function widened(halves) {
  const value = (bits) => {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, bits >> 10 & 31, bits & 1023];
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * fraction / 1024);
  };
  const table = Float32Array.from({ length: 2 ** 16 }, (_, bits) => value(bits));
  return Float32Array.from(halves, (bits) => table[bits]);
}

export const scene = async () => ({ scene: "photo", ...description });
export const photoAddress = () => photo;

const ending = (wanted) => {
  const known = [sides.first_side, ...sides.refined_sides];
  return known.find((side) => side >= wanted) ?? known.at(-1);
};

export async function window(name, what, signal) {
  const side = ending(what.side);
  return { side, values: await renderer.probabilities(what.object, what.window, side, signal) };
}

export async function steps(name, what, signal) {
  const found = await renderer.steps(what.object, what.window, ending(what.side), signal);
  return found.map(({ side, uncertainty, points }) => ({
    height: side, width: side, uncertainty: bright(uncertainty),
    points: Array.from({ length: points.length / 2 }, (_, i) => [points[2 * i], points[2 * i + 1]]),
  }));
}

// As explore/shown.py has it: 255 where least certain, in shares of the surest.
function bright(uncertainty) {
  const unit = Math.min(Math.max(-uncertainty.reduce((a, b) => Math.min(a, b)) / 4, 1e-6), 2);
  return Uint8Array.from(uncertainty, (v) => Math.round(255 * Math.exp(Math.min(v, 0) / unit)));
}
