// The list of objects, the filters, and the buttons to save: the same in words as the picture.

const element = (id) => document.getElementById(id);

function made(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

export class Panel {
  // on: {filtered, chosen(item), hovered(item | null), save(kind)}
  constructor(on) {
    this.on = on;
    this.hidden = new Set();
    element("score").addEventListener("input", () => {
      element("score-shown").value = Number(element("score").value).toFixed(2);
      on.filtered();
    });
  }

  fill(scene) {
    this.labels = scene.kind === "labels";
    this.hidden.clear();
    element("score-label").hidden = this.labels;
    element("score-label").style.display = this.labels ? "none" : "";
    element("objects-title").textContent = this.labels ? "Classes of the photo" : "Objects";
    this.#classes(scene);
    element("save").replaceChildren(...scene.files.map((kind) => {
      const name = kind === "json" ? "COCO JSON" : kind.toUpperCase();
      const button = made("button", { type: "button", textContent: `Save ${name}` });
      button.addEventListener("click", () => this.on.save(kind));
      return button;
    }));
  }

  #classes(scene) {
    const names = new Map(scene.objects.map((item) => [item.class, item.class_name]));
    element("classes").replaceChildren(...[...names].map(([label, name]) => {
      const box = made("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(label);
        else this.hidden.add(label);
        this.on.filtered();
      });
      return made("label", {}, box, name);
    }));
  }

  shows(item) {
    if (this.hidden.has(item.class)) return false;
    return this.labels || item.score >= Number(element("score").value);
  }

  list(items, chosen) {
    const focused = document.activeElement?.dataset?.item;
    element("objects").replaceChildren(...items.map((item) => {
      const swatch = made("span", { className: "swatch", ariaHidden: "true" });
      swatch.style.background = `rgb(${item.color.join(",")})`;
      const amount = this.labels ? `${(100 * item.score).toFixed(1)} %` : item.score.toFixed(2);
      const button = made(
        "button", { type: "button", ariaPressed: String(item === chosen) },
        swatch, made("span", { textContent: item.class_name }), made("span", { textContent: amount }),
      );
      button.dataset.item = item.index;
      button.addEventListener("click", () => this.on.chosen(item));
      button.addEventListener("pointerenter", () => this.on.hovered(item));
      button.addEventListener("pointerleave", () => this.on.hovered(null));
      return made("li", {}, button);
    }));
    if (focused !== undefined) element("objects").querySelector(`[data-item="${focused}"]`)?.focus();
  }
}
