"""Where compiled programs are kept."""

from pathlib import Path

import jax
import pytest

from pointrend_jax.compilation_cache import use_compilation_cache


@pytest.fixture
def _restored():
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: jax.config.values[name] for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("_restored")
def test_a_place_that_is_set_is_kept_and_otherwise_the_folder_is_taken(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
    use_compilation_cache(tmp_path / "default")
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "chosen")
    jax.config.update("jax_compilation_cache_dir", None)
    use_compilation_cache(tmp_path / "default")
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "default")
