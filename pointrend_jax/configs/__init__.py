"""The experiments, as modules: `from pointrend_jax.configs import base`.

On a checkout their files are in configs/ at the top of the repository, and this package leads
there; installed, they lie beside this file.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    def __getattr__(name: str) -> ModuleType: ...


_here = Path(__file__).parent
if not (_here / "base.py").exists():
    __path__ = [str(_here.parents[1] / "configs")]
