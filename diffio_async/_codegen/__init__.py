"""The workshop: reads the coroutine classes as text and writes the facades over them.

`python -m diffio_async._codegen --write` writes, `--check` compares. Imports nothing of the
package; not in the wheel.
"""
