"""Names of classes that come without a data set."""

import pytest

from pointrend_jax.data.sources.categories import COCO, are_made_up, class_names


def test_names_are_known_given_or_made_up() -> None:
    assert class_names("coco", 80) == COCO
    assert class_names("", 2, ["cat", "dog"]) == ("cat", "dog")
    assert class_names("", 2) == ("class 0", "class 1")
    assert are_made_up(class_names("", 2))
    assert not are_made_up(("cat", "dog"))
    assert not are_made_up(("class 1", "class 0"))


@pytest.mark.parametrize(
    ("categories", "number", "given", "match"),
    [
        ("", 3, ("cat", "dog"), "must be 3 different names .*got 2"),
        ("", 2, ("cat", "cat"), "2 different names"),
        ("", 2, ("cat", ""), "2 different names"),
        ("coco", 2, ("cat", "dog"), "leave one of them out"),
        ("coco", 2, (), "has 80 classes"),
        ("imagenet", 2, (), "must be '' or one of"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    categories: str, number: int, given: tuple[str, ...], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        class_names(categories, number, given)
