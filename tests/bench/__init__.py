"""Figures of a whole local fleet, beside those of others, in one run: `python -m tests.bench [NAME…]`.

What may enter: what measures. Nothing here asserts a time; tests say whether it works, figures how fast.
"""
