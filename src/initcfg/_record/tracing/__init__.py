"""Tracing: existing initialization code, run without a write, as a plan.

``trace`` is the door, ``shadow`` keeps a model that is there already as it is, ``generators`` the process's
random numbers, ``record`` carries a traced plan out again.
"""
