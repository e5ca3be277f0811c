// The page: one photo, what was found on it, and what of it is seen.

import * as api from "./api.js";
import { Panel } from "./panel.js";
import { Picture, labelPicture, uncertaintyPicture } from "./picture.js";
import { Refiner } from "./refine.js";
import { View } from "./view.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas");

const page = {
  scene: null, photo: null, items: [], visible: [], chosen: null, hovered: null,
  raw: null, maps: null, refined: null, steps: null, showsPoints: false, slide: 0,
  showsClass: (label) => panel.shows({ class: label, score: 1 }),
};
const view = new View(canvas, moved);
const picture = new Picture(canvas, view);
const timed = (text) => { element("timing").textContent = text; };
const refiner = new Refiner(view, { said, timed, drawn });
const panel = new Panel({ filtered, chosen: choose, hovered: hover, save });

function said(text) {
  element("status").textContent = text;
}

let asked = false;
function drawn() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    picture.draw({ ...page, items: page.visible, steps: shownStep() });
  });
}

function moved() {
  // Windows of objects stay in place while the view moves; new ones follow.
  refiner.moved(page);
  drawn();
}

// --- photos ---

let opening = new AbortController();

async function open(file) {
  if (!file) return;
  if (refiner.limits && !refiner.limits.opens) {
    said("This page has one photo; `pointrend_jax explore` opens others");
    return;
  }
  if (file.size > refiner.limits?.max_bytes) {
    said(`${file.name} is too large: at most ${refiner.limits.max_bytes >> 20} MiB`);
    return;
  }
  said(`Looking at ${file.name}…`);
  canvas.setAttribute("aria-busy", "true");
  // The browser's own picture is there before the server's, where it knows the format.
  const own = createImageBitmap(file).catch(() => null);
  const start = performance.now();
  const before = page.scene;
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  try {
    own.then((photo) => photo && !signal.aborted && page.scene === before && showPhoto(photo));
    const scene = await api.predict(file, signal);
    await showScene(scene, await own, signal);
    said(`${summary()} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (signal.aborted) return;
    said(`${file.name}: ${error.message}`);
    if (before) await showScene(before, null, signal).catch(() => null);
  }
  canvas.removeAttribute("aria-busy");
}

function showPhoto(photo) {
  Object.assign(page, { photo, scene: null, items: [], visible: [], raw: null, maps: null });
  Object.assign(page, { refined: null, steps: null, chosen: null, hovered: null });
  element("drop").hidden = true;
  view.photo = { width: photo.width, height: photo.height };
  view.fit();
}

// Throws, with nothing changed, where another photo was opened before all was there.
async function showScene(scene, photo, signal) {
  // A file that the browser does not show comes from the server as a JPEG.
  const [shown, ...maps] = await Promise.all([
    photo ?? loaded(api.photoAddress(scene.scene)),
    ...(scene.kind === "labels" ? ["coarse", "rendered"] : []).map((kind) =>
      api.map(scene.scene, kind)),
  ]);
  signal.throwIfAborted();
  showPhoto(shown);
  page.scene = scene;
  view.photo = { width: scene.width, height: scene.height };
  page.items = scene.objects.map((item, index) => ({ ...item, index, paths: paths(item) }));
  page.raw = maps.length ? { coarse: maps[0], rendered: maps[1] } : null;
  panel.fill(scene);
  filtered();
  view.fit();
}

function paths(item) {
  if (!item.rendered) return null;
  const both = ({ fill, stroke }) => ({ fill: new Path2D(fill), stroke: new Path2D(stroke) });
  return { rendered: both(item.rendered), coarse: both(item.coarse) };
}

async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function summary() {
  const number = page.visible.length;
  const what = page.scene.kind === "labels" ? "classes" : number === 1 ? "object" : "objects";
  const names = [...new Set(page.visible.map((item) => item.class_name))].slice(0, 6).join(", ");
  return `${number} ${what}${names ? `: ${names}` : ""}`;
}

// --- choosing and filtering ---

function filtered() {
  if (!page.scene) return;
  page.visible = page.items.filter((item) => panel.shows(item));
  if (page.chosen && !page.visible.includes(page.chosen)) page.chosen = null;
  if (page.raw) {
    const { width, height, colors } = page.scene;
    const drawnMap = (kind) => labelPicture(page.raw[kind], width, height, colors, page.showsClass);
    page.maps = { coarse: drawnMap("coarse"), rendered: drawnMap("rendered") };
    page.refined = null;
  }
  panel.list(page.visible, page.chosen);
  canvas.setAttribute("aria-label", `Photo with ${summary()}`);
  moved();
}

function choose(item) {
  page.chosen = item === page.chosen ? null : item;
  page.steps = null;
  panel.list(page.visible, page.chosen);
  if (page.chosen) said(`${item.class_name} chosen`);
  moved();
}

function hover(item, at = null) {
  if (item !== page.hovered) {
    page.hovered = item;
    drawn();
  }
  const hint = element("hint");
  hint.hidden = !item || !at;
  if (item && at) {
    hint.textContent = page.scene.kind === "labels"
      ? item.class_name : `${item.class_name} ${item.score.toFixed(2)}`;
    hint.style.left = `${at[0] + 12}px`;
    hint.style.top = `${at[1] + 12}px`;
  }
}

// The object at a place of the screen: the smallest of those that hold it.
function objectAt(x, y) {
  if (!page.scene) return null;
  const [px, py] = view.toPhoto(x, y);
  if (page.raw) {
    const { width, height } = page.scene;
    const [column, row] = [Math.floor(px), Math.floor(py)];
    if (column < 0 || row < 0 || column >= width || row >= height) return null;
    const label = page.raw.rendered[row * width + column];
    return page.visible.find((item) => item.class === label) ?? null;
  }
  const size = ({ box: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);
  const context = picture.context;
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  const holding = page.visible.filter((item) =>
    context.isPointInPath(item.paths.rendered.fill, px, py, "evenodd"));
  context.restore();
  return holding.sort((a, b) => size(a) - size(b))[0] ?? null;
}

function next(by) {
  if (!page.visible.length) return;
  const index = page.visible.indexOf(page.chosen);
  const start = index < 0 && by < 0 ? 0 : index;
  page.chosen = null;
  choose(page.visible[(start + by + page.visible.length) % page.visible.length]);
}

// --- views ---

function shownStep() {
  if (!page.showsPoints || !page.steps) return null;
  const { window, steps } = page.steps;
  const select = element("step");
  if (select.options.length !== steps.length) {
    select.replaceChildren(...steps.map((step, i) =>
      new Option(`${i + 1}: ${step.width} x ${step.height}, ${step.points.length} points`, i)));
    select.value = steps.length - 1;
    select.disabled = false;
  }
  const step = steps[Number(select.value)];
  step.picture ??= uncertaintyPicture(step);
  return { window, picture: step.picture, points: step.points };
}

function showPoints(shows) {
  page.showsPoints = shows;
  element("show-points").checked = shows;
  page.steps = null;
  element("step").disabled = true;
  element("step").replaceChildren();
  moved();
}

function zoom(factor) {
  view.zoom(factor);
  said(`${view.scale.toFixed(1)} times the size of the photo`);
}

function zoomToWhole() {
  view.fit();
  said("Whole photo");
}

function slideTo(percent) {
  element("slide").value = percent;
  page.slide = percent / 100;
  drawn();
}

async function save(kind) {
  if (!page.scene) return;
  const shown = page.visible.map((item) => item.index);
  said(`Saving ${kind.toUpperCase()}…`);
  try {
    const { blob, name } = await api.save(page.scene.scene, kind, shown);
    const link = document.createElement("a");
    Object.assign(link, { href: URL.createObjectURL(blob), download: name });
    link.click();
    // Some browsers read it later.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    said(`Saved ${name}`);
  } catch (error) {
    said(`Not saved: ${error.message}`);
  }
}

const KEYS = {
  ArrowLeft: () => view.pan(60, 0), ArrowRight: () => view.pan(-60, 0),
  ArrowUp: () => view.pan(0, 60), ArrowDown: () => view.pan(0, -60),
  "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
  0: zoomToWhole, n: () => next(1), p: () => next(-1),
  Enter: () => page.chosen?.box && view.show(page.chosen.box),
  Escape: () => page.chosen && choose(page.chosen),
  c: () => {
    slideTo(page.slide > 0.5 ? 0 : 100);
    said(page.slide ? "Coarse masks" : "Rendered masks");
  },
  u: () => {
    showPoints(!page.showsPoints);
    said(`Points and uncertainty ${page.showsPoints ? "on" : "off"}`);
  },
};

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});
canvas.addEventListener("pointermove", ({ offsetX, offsetY }) =>
  hover(objectAt(offsetX, offsetY), [offsetX, offsetY]));
canvas.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("click", ({ offsetX, offsetY }) => {
  if (view.moved > 4) return;
  const item = objectAt(offsetX, offsetY);
  if (item && item !== page.chosen) choose(item);
  else if (page.chosen) choose(page.chosen);
});
canvas.addEventListener("dblclick", ({ offsetX, offsetY }) => view.zoom(2, offsetX, offsetY));
element("zoom-in").addEventListener("click", () => zoom(1.5));
element("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
element("zoom-fit").addEventListener("click", zoomToWhole);
element("slide").addEventListener("input", (event) => slideTo(Number(event.target.value)));
element("show-points").addEventListener("change", (event) => showPoints(event.target.checked));
element("step").addEventListener("change", drawn);
element("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = "";
});

const stage = element("stage");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) stage.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  open(event.dataTransfer.files[0]);
});

// A photo that is opened meanwhile takes the place of the one that the server had.
const { signal: starting } = opening;
try {
  refiner.limits = await api.start();
  if (!refiner.limits.opens) {
    element("file").labels[0].remove();
    element("file").remove();
  }
  if (refiner.limits.scene) {
    await showScene(await api.scene(refiner.limits.scene), null, starting);
    said(summary());
  } else if (!starting.aborted) {
    said("Ready");
  }
} catch (error) {
  if (!starting.aborted) said(error.message);
}
