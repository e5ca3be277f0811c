"""Whether what is read is what was written: digests of arrays, and of the text that describes them.

Files carry checksums of some of their parts only: a bit that flips in the values of an array is
read as another value. So a checkpoint's description holds the SHA-256 of every array, by name, and
one of itself.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from pointrend_jax.messages import first
from pointrend_jax.training.trees import flat

# Keys of a description's JSON: digests by array name, and the digest of all the rest.
_ARRAYS, _ITSELF = "arrays_sha256", "sha256"


class DamagedCheckpointError(ValueError):
    """A checkpoint that does not hold what was written; an older one may."""


def describe_arrays(tree: Any) -> dict[str, str]:
    """The SHA-256 of type, shape and bytes of every array of a tree, by path."""
    arrays = flat(tree)
    # hashlib lets other threads run meanwhile.
    with ThreadPoolExecutor() as pool:
        return dict(zip(arrays, pool.map(_sha256, arrays.values()), strict=True))


def sealed(content: Mapping[str, Any], arrays: Mapping[str, str]) -> dict[str, Any]:
    """The JSON of a description, with the digests of the arrays and its own.

    Args: arrays, as `describe_arrays` gives them.
    """
    whole = dict(content) | {_ARRAYS: dict(arrays)}
    return whole | {_ITSELF: _text_digest(whole)}


def opened(content: Any) -> tuple[dict[str, Any], dict[str, str] | None]:
    """A description without digests, and those of the arrays; None if an earlier version wrote it.

    Raises: DamagedCheckpointError if it is not what `sealed` gave.
    """
    if not isinstance(content, dict):
        raise DamagedCheckpointError("its description is no JSON object")
    # Both, since one of the two names may be what is damaged.
    if _ARRAYS not in content and _ITSELF not in content:
        return content, None
    rest = {name: value for name, value in content.items() if name != _ITSELF}
    if content.get(_ITSELF) != _text_digest(rest):
        raise DamagedCheckpointError("its description (meta) is not what was written")
    arrays = rest.pop(_ARRAYS)
    return rest, arrays


def check_names(tree: Any, digests: Mapping[str, str]) -> None:
    """Raises DamagedCheckpointError unless a tree has exactly the arrays that were written."""
    names = flat(tree).keys()
    for what, differing in (
        ("are missing", digests.keys() - names),
        ("were never written", names - digests.keys()),
    ):
        if differing:
            raise DamagedCheckpointError(
                f"{len(differing)} of its arrays {what}: {first(sorted(differing))}"
            )


def check_arrays(tree: Any, digests: Mapping[str, str]) -> None:
    """Raises DamagedCheckpointError, naming the arrays whose bytes are not those of `digests`."""
    check_names(tree, digests)
    found = describe_arrays(tree)
    wrong = sorted(name for name in digests if found[name] != digests[name])
    if wrong:
        arrays = "the array" if len(wrong) == 1 else f"{len(wrong)} arrays:"
        verb = "is" if len(wrong) == 1 else "are"
        raise DamagedCheckpointError(f"{arrays} {first(wrong)} {verb} not what was written")


def _sha256(array: Any) -> str:
    if isinstance(array, jax.Array):
        # An array object of its own: numpy's view would be kept with the caller's, and a buffer
        # that is viewed cannot be given to the next step.
        array = array.addressable_data(0)
    values = np.asarray(array)
    digest = hashlib.sha256(f"{values.dtype}{list(values.shape)}".encode())
    digest.update(np.ravel(values).view(np.uint8).data)
    return digest.hexdigest()


def _text_digest(content: Mapping[str, Any]) -> str:
    # As it will be read: JSON has no tuples.
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
