"""Sets of objects for tests: a COCO file with its folder, prepared."""

from pathlib import Path

from pointrend_jax.data.records.objects import PreparedSet, prepare_objects
from pointrend_jax.data.sources.coco import read_coco
from pointrend_jax.data.sources.object_set import FoundObjects


def find(annotations: Path, folder: Path) -> FoundObjects:
    """The checked set of an annotation file whose images lie in `folder`."""
    return FoundObjects(read_coco(annotations, folder), annotations)


def prepare(annotations: Path, folder: Path, cache_dir: Path) -> PreparedSet:
    """The same as records."""
    return prepare_objects(find(annotations, folder), cache_dir)
