// Each column of numbers or names can be sorted by the button that its heading becomes.
"use strict";
for (const heading of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const row = heading.parentElement, body = heading.closest("table").tBodies[0];
    const column = [...row.children].indexOf(heading);
    const down = heading.getAttribute("aria-sort") !== "descending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (line) => {
      const cell = line.children[column];
      if (cell.tagName === "TH") return cell.textContent;
      // What has no number comes last, whichever way.
      return cell.dataset.value === undefined ? (down ? -Infinity : Infinity) : Number(cell.dataset.value);
    };
    const compare = (a, b) => typeof a === "string" ? a.localeCompare(b) : a - b || 0;
    const lines = [...body.rows].sort((a, b) => compare(key(a), key(b)));
    body.append(...(down ? lines.reverse() : lines));
  });
}
