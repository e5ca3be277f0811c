"""Names and ids of the sets that published weights know."""

import pytest

from pointrend_jax.data.sources.categories import COCO, category_ids, class_names


def test_coco_has_an_id_for_each_of_its_80_names() -> None:
    ids = dict(zip(class_names("coco", 80), category_ids("coco", "coco", 80), strict=True))
    assert (ids["person"], ids["stop sign"], ids["toothbrush"]) == (1, 13, 90)
    assert len(set(ids.values())) == len(COCO)


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (("cityscapes", "cityscapes", 8), (24, 25, 26, 27, 28, 31, 32, 33)),
        (("", "lvis", 1203), tuple(range(1, 1204))),
        (("", "lvis", 80), ()),
        (("", "coco", 3), ()),
        (("camvid", "camvid", 11), ()),
    ],
)
def test_ids_are_those_of_the_set_where_they_are_known(
    arguments: tuple[str, str, int], ids: tuple[int, ...]
) -> None:
    assert category_ids(*arguments) == ids
