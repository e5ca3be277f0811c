"""What the owner of a set must be told although it can be used: crowds, names, absent classes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from pointrend_jax.console import tell
from pointrend_jax.messages import first

# The share of all objects. COCO has 1 %; where it is large, they are seldom meant as crowds.
_MANY_CROWDS = 0.1


@runtime_checkable
class _MayBeCrowd(Protocol):
    @property
    def is_crowd(self) -> bool: ...


def crowd_remarks(images: Collection[Sequence[_MayBeCrowd]]) -> list[str]:
    """How many objects are crowd regions; nothing if none is. Args: images, objects of each."""
    crowds = [sum(o.is_crowd for o in objects) for objects in images]
    number, total = sum(crowds), sum(map(len, images))
    if not number:
        return []
    only = sum(0 < n == len(objects) for n, objects in zip(crowds, images, strict=True))
    text = (
        f"{number} of {total} objects are crowd regions (iscrowd 1), which training does not see "
        f"and evaluation ignores; {only} images have nothing else"
    )
    if number >= _MANY_CROWDS * total:
        text += (
            ". If each is a single object, as some programs mark what was drawn with a brush, set "
            "its iscrowd to 0"
        )
    return [text]


def grouping_categories(content: Mapping[str, Any]) -> list[int]:
    """The ids of categories that only group the others of a checked COCO dictionary.

    Roboflow writes one with the id 0: no object has it, and it is the supercategory of all others.
    """
    categories = content["categories"]
    used = {annotation["category_id"] for annotation in content["annotations"]}
    return [
        category["id"]
        for category in categories
        if category["id"] not in used
        and len(categories) > 1
        and all(c.get("supercategory") == category["name"] for c in categories if c is not category)
    ]


def name_remarks(category_names: Mapping[int, str]) -> list[str]:
    """Which categories have the name of another one. Args: category_names, by id."""
    ids: dict[str, list[int]] = {}
    for category_id, name in sorted(category_names.items()):
        ids.setdefault(name, []).append(category_id)
    repeated = [f"{name!r} with the ids {i}" for name, i in ids.items() if len(i) > 1]
    if not repeated:
        return []
    return [f"categories of one name are trained as different classes: {first(repeated)}"]


def tell_absent_classes(which: str, class_names: Sequence[str], present: Iterable[int]) -> None:
    """Prints the classes that have no object in a set.

    A set without a single object, such as one of test images, is another matter.

    Args:
      which: what the message calls the set.
      present: the class of every object.
    """
    found = set(present)
    absent = [name for k, name in enumerate(class_names) if k not in found]
    if found and absent:
        tell(
            f"{which}: {len(absent)} of {len(class_names)} classes have no object: {first(absent)}"
        )
