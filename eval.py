"""Scores a trained model: python eval.py --workdir runs/demo

What `pointrend_jax eval` does, on a checkout that nothing was installed from; --help says more.
"""

import sys

from pointrend_jax.__main__ import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:]])
