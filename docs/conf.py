"""Sphinx configuration. `nox -s docs` builds the pages; every warning is an error."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))

from commands import command_reference

from diffio_async import _MODULE_OF as EXPORTS
from diffio_async._version import __version__
from diffio_async.client import AsyncDiffio

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "diffio_async"
author = project_copyright = "the diffio_async authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
python_display_short_literal_types = True

html_theme = "furo"
html_title = f"diffio_async {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

PACKAGES = (
    "dask",
    "types",
    "webhooks",
    "webhooks.taskiq",
    "telemetry",
    "notebook",
    "report",
    "sandbox",
    "testing",
    "sync",
    "compat",
    "compat.types",
    "compat.errors",
)


def public_names() -> dict[str, str]:
    """Return the public names as users write them, each with the module it is defined in."""
    names = [("diffio_async", name) for name in EXPORTS]
    for package in PACKAGES:
        module = importlib.import_module(f"diffio_async.{package}")
        own = [
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
        ]
        names += [(module.__name__, name) for name in getattr(module, "__all__", own)]
    found = {}
    for parent, name in names:
        value = getattr(importlib.import_module(parent), name)
        default = EXPORTS[name] if parent == "diffio_async" else parent
        is_definition = inspect.isclass(value) or inspect.isfunction(value)
        if name != "__version__":
            found[f"{parent}.{name}"] = str(value.__module__) if is_definition else default
    return found


# The home of each public object -> the name it is documented under, which is the shortest one.
DOCUMENTED: dict[str, str] = {}
for _name, _home in public_names().items():
    DOCUMENTED.setdefault(f"{_home}.{_name.rpartition('.')[2]}", _name)
# The parts of a client (`client.projects`) are reached by attribute, not imported.
PARTS = {f"{part.__module__}.{part.__name__}" for part in get_type_hints(AsyncDiffio).values()}
DOCUMENTED.update({part: part for part in PARTS})
# Type variables, and classes that are reached through attributes or results only.
UNDOCUMENTED = {"AsgiReceiver", "DeliveryAttempt", "EdgeUpload", "H", "InboxPushSource"} | {
    "ServerContext",
    "State",
    "T",
}


class Exported(SphinxDirective):
    """Document the public names that are imported from a module, or defined below it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Expand to one autodoc directive for each name."""
        module = self.arguments[0]
        lines = []
        for home, name in DOCUMENTED.items():
            parent = name.rpartition(".")[0]
            below = f"{home}.".startswith(f"{module}.") and (
                parent == "diffio_async" or name in PARTS
            )
            if parent == module or below:
                lines += [*_autodoc(name), ""]
        if not lines:
            raise self.error(f"no public name is defined in {module}")
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


class Commands(SphinxDirective):
    """Describe every command of the command line, with its options."""

    def run(self) -> list[nodes.Node]:
        """Expand to one section for each command."""
        return self.parse_text_to_nodes(command_reference(), allow_section_headings=True)


def _autodoc(name: str) -> list[str]:
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(module), attribute)
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return [f".. auto{kind}:: {name}", "   :members:"]
    return [f".. auto{'function' if inspect.isfunction(value) else 'data'}:: {name}"]


def _hide_internal_constructor(
    _app: Sphinx, what: str, _name: str, obj: Any, *_more: object
) -> Any:
    """Hide the constructor of classes that users do not construct: it has no docstring."""
    internal = what == "class" and obj.__init__.__doc__ is None
    return ("", None) if internal else None


def _links(
    _app: Sphinx, _what: str, _name: str, _obj: object, _opts: Any, lines: list[str]
) -> None:
    """Link names in single backticks to the page of that name; show others as code."""
    short = {name.rpartition(".")[2]: name for name in reversed(DOCUMENTED.values())}

    def link(match: re.Match[str]) -> str:
        full = short.get(match[1])
        end = "\\ " if match[2] else ""
        return (f":py:obj:`~{full}`" if full else f"``{match[1]}``") + end

    for number, line in enumerate(lines):
        lines[number] = re.sub(r"(?<![`:\w])`([^`]+)`(?!`)(?=(\w)?)", link, line)


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Node | None:
    """Resolve a name by the module that defines it; show names of other packages as code."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py":
        return None
    public = DOCUMENTED.get(target)
    if public:
        domain = env.get_domain("py")
        for _, reference in domain.resolve_any_xref(
            env, node["refdoc"], app.builder, public, node, content
        ):
            return reference
    ours = target.startswith("diffio_async.") and target.rpartition(".")[2] not in UNDOCUMENTED
    return None if ours else content


def _index_statuses(_app: Sphinx, doctree: nodes.document) -> None:
    """Add an index entry for each row of a table whose first cell is an HTTP status.

    The search of the pages ignores words that are numbers, but finds index entries.
    """
    for row in doctree.findall(nodes.row):
        status = row[0].astext()
        if re.fullmatch(r"[45]\d\d", status):
            target = nodes.target("", "", ids=[f"status-{status}"])
            entries = [("single", status, f"status-{status}", "", None)]
            row[0][0].insert(0, [addnodes.index(entries=entries), target])


def setup(app: Sphinx) -> None:
    """Register the directive and the event handlers."""
    app.add_directive("exported", Exported)
    app.add_directive("commands", Commands)
    app.connect("doctree-read", _index_statuses)
    app.connect("autodoc-process-docstring", _links)
    app.connect("autodoc-process-signature", _hide_internal_constructor)
    app.connect("missing-reference", _resolve)
