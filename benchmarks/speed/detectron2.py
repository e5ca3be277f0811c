"""Detectron2's time for the same work, in ms: CPU, PyTorch 2.5.1, float32, medians of whole calls.

Measured on 2 cores of an AMD Zen 4 machine (commit 02b5c4e2), with the weights of the parity kit
and the output of 423x640, with one thread and with two. It cannot be run beside this code from this
repository: a ratio is between machines, and the rate of a matrix product says how fast ours was.
"""

# (case, what it is of) to ms with 1 and with 2 threads.
MILLISECONDS = {
    ("predict", 320, 20): (2391, 1612),
    ("predict", 320, 100): (10263, 8050),
    ("predict", 800, 20): (6474, 4256),
    ("predict", 800, 100): (16883, 10625),
    ("semantic", 512, 1024): (3573, 1920),
    ("train", 320, 2): (7455, 5050),
}
# Its Mask R-CNN with the 4-conv head, 320x484 with 100 instances.
CONV_HEAD_MILLISECONDS = (2789, 1725)
