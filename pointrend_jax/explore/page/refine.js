// Asks for what is seen at the resolution of the screen: a first picture, then the refined one.

import * as api from "./api.js";
import { labelPicture, maskPicture } from "./picture.js";
import { cut } from "./view.js";

const WAIT_MS = 120; // after the last movement
const MOST_OBJECTS = 12;
const MARGIN = 2; // px of the photo, around a box

export class Refiner {
  // said(text): what went wrong; timed(text): how long it took; drawn(): something new is there.
  constructor(view, { said, timed, drawn }) {
    this.view = view;
    this.said = said;
    this.timed = timed;
    this.drawn = drawn;
    this.aborting = new AbortController();
  }

  // Forgets what was asked for another view; asks anew when the view rests.
  moved(page) {
    clearTimeout(this.timer);
    this.aborting.abort();
    this.aborting = new AbortController();
    this.timer = setTimeout(() => this.#ask(page, this.aborting.signal), WAIT_MS);
  }

  async #ask(page, signal) {
    const seen = this.view.window();
    if (!page.scene || !seen) return;
    const start = performance.now();
    try {
      for (const first of [true, false]) {
        await Promise.all(this.#jobs(page, seen, first).map((job) => job(signal)));
      }
      if (page.showsPoints) await this.#steps(page, seen, signal);
      const milliseconds = performance.now() - start;
      if (milliseconds > 5) this.timed(`Rendered in ${milliseconds.toFixed(0)} ms`);
    } catch (error) {
      if (error.name !== "AbortError") this.said(error.message);
    }
  }

  #jobs(page, seen, first) {
    if (page.scene.kind === "labels") {
      // The whole map is the first picture.
      return first ? [] : [(signal) => this.#labels(page, seen, signal)];
    }
    return page.visible
      .map((item) => ({ item, window: cut(around(item.box), seen) }))
      .filter(({ item, window }) => window && this.#isFiner(page.scene, item))
      .sort((a, b) => (b.item === page.chosen) - (a.item === page.chosen) || area(b.window) - area(a.window))
      .slice(0, MOST_OBJECTS)
      .map(({ item, window }) => (signal) => this.#mask(page, item, window, first, signal));
  }

  // Whether the screen has more pixels for a box than its mask has.
  #isFiner(scene, { box: [x0, y0, x1, y1] }) {
    return Math.max(x1 - x0, y1 - y0) * this.view.scale * this.view.ratio > scene.mask_side;
  }

  #side(window, first) {
    const [least, most] = [this.limits.first_side, this.limits.refined_sides[0]];
    const longest = Math.max(window[2] - window[0], window[3] - window[1]);
    return first ? least : Math.max(Math.ceil(longest * this.view.scale * this.view.ratio), most);
  }

  async #mask(page, item, window, first, signal) {
    const what = { object: item.index, window, side: this.#side(window, first) };
    const answer = await api.window(page.scene.scene, what, signal);
    if (signal.aborted) return;
    item.refined = { window, picture: maskPicture(answer, item.color), side: answer.side };
    this.drawn();
  }

  async #labels(page, seen, signal) {
    const what = { object: 0, window: seen, side: this.#side(seen, false) };
    const { values, side } = await api.window(page.scene.scene, what, signal);
    if (signal.aborted) return;
    const shows = (label) => page.showsClass(label);
    const picture = labelPicture(values, side, side, page.scene.colors, shows);
    page.refined = { window: seen, picture, values, side };
    this.drawn();
  }

  async #steps(page, seen, signal) {
    const item = page.chosen ?? page.visible[0];
    const labels = page.scene.kind === "labels";
    const window = labels ? seen : item && cut(around(item.box), seen);
    if (!window) return;
    const side = this.limits.refined_sides[0];
    const what = { object: labels ? 0 : item.index, window, side };
    const steps = await api.steps(page.scene.scene, what, signal);
    if (signal.aborted) return;
    page.steps = { window, steps };
    this.drawn();
  }
}

const around = ([x0, y0, x1, y1]) => [x0 - MARGIN, y0 - MARGIN, x1 + MARGIN, y1 + MARGIN];
const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
