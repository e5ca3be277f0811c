"""Trains a model: python train.py --config configs/demo.py --workdir runs/demo

What `pointrend_jax train` does, on a checkout that nothing was installed from; --help says more.
"""

import sys

from pointrend_jax.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
