"""The deferred build: what a model's constructor writes is recorded, and done when its plan is applied.

``content`` knows what recorded writes amount to, ``regions`` which part of a tensor they reach,
``recorder`` catches them, ``patches`` what no dispatch mode sees, ``context`` is the door.
"""
