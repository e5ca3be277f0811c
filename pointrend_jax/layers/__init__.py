"""Linen modules, one block of the paper a file.

A convolution or matrix product runs in the type of the maps that it gets (`dtype=x.dtype`), float32
or bfloat16; its parameters are float32 always. So are the statistics and coefficients of norms, and
the last layer of every head: what it says is ranked, compared or decoded.
"""
