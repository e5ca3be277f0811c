"""What the values of a label image become."""

import numpy as np
import pytest

from pointrend_jax.data.sources.label_set import to_classes
from pointrend_jax.structures import IGNORE_LABEL

_VALUES = {0: IGNORE_LABEL, 7: 0, 255: 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_values_become_classes(dtype: type):
    values = np.array([[0, 7, 255], [255, 7, 0]], dtype)
    classes = to_classes(values, _VALUES, "a.png")
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, [[IGNORE_LABEL, 0, 1], [1, 0, IGNORE_LABEL]])


# 256 + 7 and -1 look like known values in their lowest byte.
@pytest.mark.parametrize("value", [1, 254, 256 + 7, 65535, -1])
def test_unknown_value_is_named_with_its_file(value: int):
    values = np.array([[0, 7, value]], np.int32)
    with pytest.raises(ValueError, match=rf"a\.png has the unknown value\(s\) \[{value}\].*255\]"):
        to_classes(values, _VALUES, "a.png")
