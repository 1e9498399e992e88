"""Generator of the facades: it reads the coroutine classes as text, without importing them.

`python -m diffio_async._codegen --write` writes, `--check` compares. Not in the wheel.
"""
