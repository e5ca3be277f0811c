"""How large the page without a server is, and how long its windows take in the browser.

    python -m benchmarks.static_page --checkpoint runs/demo

The photo and the windows are those of benchmarks/explore.py, which asks a server for them. Needs
Chromium and playwright.
"""

import argparse
import tempfile
from pathlib import Path

import pointrend_jax
from benchmarks.browser import chromium
from benchmarks.explore import drawn_photo, tell_times, zoomed
from pointrend_jax.data.images import read_image
from pointrend_jax.explore.shown import FIRST_SIDE, REFINED_SIDES
from pointrend_jax.explore.static import write_static

_WINDOW = """async ([window, side]) => {
  const api = await import("pointrend/api.js");
  const start = performance.now();
  await api.window("photo", { object: 0, window, side });
  return (performance.now() - start) / 1000;
}"""
_BOX = """() => JSON.parse(document.getElementById("about").textContent).model.objects[0].box"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--side", type=int, default=640, help="of the photo, in pixels")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--score-threshold", type=float, default=0.5)
    args = parser.parse_args()
    predictor = pointrend_jax.load(args.checkpoint)
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        file, photo = Path(temporary) / "photo.html", Path(temporary) / "photo.jpg"
        photo.write_bytes(drawn_photo(args.side))
        write_static(predictor, read_image(photo), file, score_threshold=args.score_threshold)
        page = browser.new_page()
        page.goto(file.as_uri())
        page.wait_for_function("() => /object/.test(document.querySelector('#status').textContent)")
        box = page.evaluate(_BOX)
        for side in (FIRST_SIDE, *REFINED_SIDES):
            windows = [zoomed(box, i) for i in range(args.repeats)]
            seconds = [page.evaluate(_WINDOW, [window, side]) for window in windows]
            tell_times(f"a window of {side} x {side}, the first among them", seconds)


if __name__ == "__main__":
    main()
