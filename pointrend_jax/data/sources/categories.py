"""Class names and category ids of the data sets that published weights know, by class index."""

from collections.abc import Sequence

from pointrend_jax.cityscapes_labels import CLASSES, INSTANCE_CLASSES, INSTANCES

# COCO's 80, by ascending category id (1..90 with gaps).
COCO = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
    *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
    *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier"),
    "toothbrush",
)
# The category ids of these 80: 1..90 without the ten that COCO named and never annotated.
_COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(1, 91) if i not in _COCO_UNUSED)
# The 11 classes of CamVid in the SegNet tutorial's order.
CAMVID = (
    *("sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car"),
    *("pedestrian", "bicyclist"),
)

_CATEGORIES = {
    "coco": COCO,
    "cityscapes": INSTANCE_CLASSES,
    "cityscapes_semantic": CLASSES,
    "camvid": CAMVID,
}
# LVIS v1 and v0.5 have so many classes, with the ids 1, 2, 3, ...
_LVIS_CLASSES = (1203, 1230)
_IDS = {"coco": COCO_IDS, "cityscapes": tuple(INSTANCES)}


def class_names(categories: str, num_classes: int, given: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of a data set by its name in `_CATEGORIES`, those that are given, or, of neither,
    "class 0", ...

    Raises: ValueError if `categories` is unknown, the number of classes is another, or both are
      given.
    """
    if given:
        _check_given(categories, num_classes, given)
        return tuple(given)
    if not categories:
        return _made_up(num_classes)
    if categories not in _CATEGORIES:
        known = ", ".join(repr(name) for name in _CATEGORIES)
        raise ValueError(
            f"config.data.categories must be '' or one of {known}, got {categories!r}."
        )
    names = _CATEGORIES[categories]
    if len(names) != num_classes:
        raise ValueError(
            f"config.data.categories {categories!r} has {len(names)} classes, but "
            f"config.num_classes is {num_classes}: set one of them to fit the other."
        )
    return names


def category_ids(categories: str, source: str, num_classes: int) -> tuple[int, ...]:
    """The ids that annotations of a data set use, by class; empty where they are not known.

    Args:
      categories: as of `class_names`, which checks it.
      source: the data set's kind, `config.data.source`; LVIS's ids need no table.
    """
    if source == "lvis" and num_classes in _LVIS_CLASSES:
        return tuple(range(1, num_classes + 1))
    return _IDS.get(categories, ())


def are_made_up(names: Sequence[str]) -> bool:
    """Whether nobody has given the names: those that `class_names` makes up."""
    return tuple(names) == _made_up(len(names))


def _made_up(num_classes: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(num_classes))


def _check_given(categories: str, num_classes: int, given: Sequence[str]) -> None:
    if categories:
        raise ValueError(
            "config.data.class_names and config.data.categories both name the classes; leave one "
            f"of them out, got {list(given)[:8]} and {categories!r}."
        )
    if len(given) != num_classes or len(set(given)) != len(given) or "" in given:
        raise ValueError(
            f"config.data.class_names must be {num_classes} different names "
            f"(config.num_classes), got {len(given)}: {list(given)[:8]}."
        )
