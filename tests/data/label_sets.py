"""Tiny sets with label images, written for a test; and what to do to any such set."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

# Two colours for two classes: what an image shows is what its labels say.
DARK, BRIGHT = 0, 255


def save_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def blocks(hw: tuple[int, int], seed: int, side: int = 8) -> np.ndarray:
    """Labels 0 and 1 in blocks of `side` x `side` pixels."""
    cells = np.random.default_rng(seed).integers(0, 2, (-(-hw[0] // side), -(-hw[1] // side)))
    return np.kron(cells, np.ones((side, side), int))[: hw[0], : hw[1]].astype(np.uint8)


def painted(labels: np.ndarray, blue: int = 0) -> np.ndarray:
    """Labels 0 and 1 as dark and bright; `blue` names the image."""
    image = np.repeat(np.where(labels == 1, BRIGHT, DARK).astype(np.uint8)[..., None], 3, axis=2)
    image[..., 2] = blue
    return image


def write_camvid(root: Path, split: str, label_images: Iterable[np.ndarray]) -> list[Path]:
    """Images 0.png, 1.png, ... painted like their labels; gives back the label files."""
    lines, files = [], []
    for n, labels in enumerate(label_images):
        image_name, label_name = f"images/{split}/{n}.png", f"labels/{split}/{n}.png"
        save_png(root / image_name, painted(labels, blue=n))
        save_png(root / label_name, labels)
        lines.append(f"{image_name} {label_name}")
        files.append(root / label_name)
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return files


def write_frame(root: Path, split: str, name: str, instance_ids: np.ndarray) -> None:
    """A frame of Cityscapes; its labels follow from the instance ids."""
    city = name.split("_")[0]
    labels = np.where(instance_ids < 1000, instance_ids, instance_ids // 1000).astype(np.uint8)
    image = np.repeat(labels[..., None], 3, axis=2)
    save_png(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
    save_png(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", labels)
    id_map = root / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png"
    save_png(id_map, instance_ids.astype(np.uint16))


def zip_folder(folder: Path, archive: Path) -> None:
    """The zip file of a folder, which is its only top entry."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
