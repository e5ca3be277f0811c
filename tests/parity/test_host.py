"""What is compared on the host, where the package itself has no such function."""

import numpy as np

from parity.host import rasterize_within_box


def test_polygon_within_a_box_is_in_the_frame_of_the_box():
    polygon = [[10.0, 20.0, 30.0, 20.0, 30.0, 60.0, 10.0, 60.0]]
    mask = rasterize_within_box(polygon, np.array([0.0, 20.0, 40.0, 100.0], np.float32), 4)
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
