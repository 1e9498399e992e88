"""Sphinx reads this; `nox -s docs` builds the pages with every warning an error."""

from diffio_async._version import __version__

project = "diffio_async"
author = "the diffio_async authors"
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"diffio_async {__version__}"
