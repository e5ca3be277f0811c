"""Where compiled programs are kept."""

from pathlib import Path

import jax
import pytest

from pointrend_jax.devices.compilation_cache import use_compilation_cache


@pytest.fixture
def _restored():
    before = jax.config.values["jax_compilation_cache_dir"]
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.usefixtures("_restored")
def test_a_place_that_is_set_is_kept_and_otherwise_the_folder_is_taken(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
    use_compilation_cache(tmp_path / "default")
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "chosen")
    jax.config.update("jax_compilation_cache_dir", None)
    use_compilation_cache(tmp_path / "default")
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "default")
