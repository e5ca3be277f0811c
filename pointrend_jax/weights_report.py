"""What became of the arrays of a file of weights: in words, and as a record for a JSON file."""

from typing import Any

from pointrend_jax.messages import first
from pointrend_jax.weights import Weights


def describe_weights(weights: Weights) -> str:
    """What was loaded, reset and left, by module, for people."""
    lines = [f"weights of {weights.source} ({weights.scheme} names)"]
    report = weights.report
    if weights.wrapper:
        lines.append(f"  all names began with {weights.wrapper!r}, which was taken off")
    if report.loaded:
        lines.append(f"  loaded: {len(report.loaded)} arrays of {_modules(report.loaded, depth=1)}")
    for label, names in (
        ("reset, so random", report.reset),
        ("not in it, so random", report.left),
        ("in it, not used", report.unused),
    ):
        if names:
            lines.append(f"  {label}: {len(names)} arrays of {_modules(names)}")
    if weights.inflated:
        lines.append(f"  {weights.inflated}")
    if weights.not_needed:
        lines.append(f"  beside the model, not needed: {first(weights.not_needed, 8)}")
    return "\n".join(lines)


def report_record(weights: Weights) -> dict[str, Any]:
    """The same for a JSON file, tensor by tensor."""
    return {
        "source": str(weights.source),
        "sha256": weights.sha256,
        "names": weights.scheme,
        "prefix": weights.wrapper,
        "tensors": {k: list(v) for k, v in weights.report._asdict().items()},
        "renamed": dict(weights.renamed),
        "not_needed": list(weights.not_needed),
        "inflated": weights.inflated,
    }


def _modules(names: tuple[str, ...], depth: int = -1) -> str:
    """The modules of tensor names, or only their first `depth` parts."""
    found: dict[str, None] = {}
    for name in names:
        separator = "/" if "/" in name else "."
        parts = name.removeprefix("params/").removeprefix("buffers/").split(separator)
        depth_of_this = 1 if parts[0] == "backbone" else depth
        found[separator.join(parts[:depth_of_this])] = None
    return ", ".join(found)
