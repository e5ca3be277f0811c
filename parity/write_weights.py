r"""The seeded weights of a kit's model as a Detectron2 file, to try what a user does with one.

    python -m parity.write_weights --kit DIR --model pointrend_rcnn_R_50_FPN_coco \
        --output model.pkl
"""

import argparse
import json
import pickle
from pathlib import Path

from parity import recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True)
    parser.add_argument("--model", required=True, help="folder of the kit's models/")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    manifest = json.loads((args.kit / "models" / args.model / "manifest.json").read_text())
    content = {"model": recipe.parameters(manifest), "__author__": "seeded, not trained"}
    with open(args.output, "wb") as file:
        # What the Detectron2 of its published models wrote.
        pickle.dump(content, file, protocol=3)


if __name__ == "__main__":
    main()
