"""A set without evaluation images of its own: a share of its images is held out for it."""

from hashlib import sha256

from pointrend_jax.data.sources.known import Found
from pointrend_jax.data.sources.label_set import SemanticSet


def held_out_part(found: Found, split: str, share: float, seed: int) -> Found:
    """The images of a set that one split has; the two splits have every image once.

    Which images are held out depends on their names and `seed` alone, so an image that is added
    later moves at most one other to the other side.

    Args:
      split: "train" for the rest, "eval" for what is held out.
      share: of the images, in (0, 1); each split has at least one.
    Raises: ValueError for a set of a single image.
    """
    if isinstance(found, SemanticSet):
        kept = _part([image.name for image in found.images], split, share, seed)
        return found._replace(images=tuple(found.images[i] for i in kept))
    dataset = found.dataset
    kept = _part([image.file.name for image in dataset.images], split, share, seed)
    images = tuple(dataset.images[i] for i in kept)
    if split == "eval":
        # What is to be told of the file is told with its training images.
        dataset = dataset._replace(skipped={}, remarks=())
    return found._replace(dataset=dataset._replace(images=images))


def _part(names: list[str], split: str, share: float, seed: int) -> list[int]:
    if len(names) < 2:
        raise ValueError(
            "a set of one image can be trained on or evaluated on, not both; give more images, or "
            "set config.data.held_out to 0 and config.data.eval_annotations to a file."
        )
    number = min(max(round(share * len(names)), 1), len(names) - 1)
    digests = [sha256(f"{seed} {name}".encode()).digest() for name in names]
    order = sorted(range(len(names)), key=lambda i: (digests[i], i))
    return sorted(order[:number] if split == "eval" else order[number:])
