"""States as each version packed them, and the leads' stories that made them.

`python -m tests.core.golden` writes the file of the version that runs. A file is made once, by the last code of its version
before the layout changes, and never again: it stands for the states that lie in somebody's Redis.
"""
