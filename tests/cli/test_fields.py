"""The help of a config: every field, with the comments that stand in configs/base.py."""

from pointrend_jax.cli.fields import describe_fields, field_comments
from pointrend_jax.config_rules import RULES


def test_comments_above_and_behind_a_field_are_its_own() -> None:
    source = (
        "def get_config():\n"
        "    config = ConfigDict()\n"
        "    config.seed = 0\n"
        "    config.data = data = ConfigDict()\n"
        "    # Above,\n"
        "    # in two lines.\n"
        "    data.dir = 'x # no comment'  # and behind\n"
        "    data.inner = inner = ConfigDict()\n"
        "    inner.size = (\n"
        "        1,\n"
        "    )  # px\n"
        "    # Of nothing, since a line lies between.\n"
        "\n"
        "    inner.last = 1\n"
    )
    assert field_comments(source) == {
        "seed": "",
        "data": "",
        "data.dir": "Above, in two lines. and behind",
        "data.inner": "",
        "data.inner.size": "px",
        "data.inner.last": "",
    }


def test_every_field_is_listed_below_its_group() -> None:
    listed, group = set(), ""
    for line in describe_fields().splitlines()[2:]:
        if line.startswith("--config."):
            group = line.removeprefix("--config.")
        elif line.startswith("  ") and not line.startswith("   "):
            listed.add(f"{group}{line.strip().partition('=')[0]}")
    assert listed == set(RULES)


def test_value_and_comment_of_a_field_stand_together() -> None:
    assert "  batch_size=16  images, all devices of all hosts together\n" in describe_fields()
    assert "  train_min_sizes=(640, 672, 704, 736, 768, 800)  px, shorter" in describe_fields()
