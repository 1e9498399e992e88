"""A sandbox in a thread of its own, with the check of the requests that it received."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal

from diffio_async.sandbox import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anyio.from_thread import BlockingPortal

    from diffio_async import AsyncDiffio

#: The option that is not one of `Sandbox`.
_ALLOW = "allow_violations"


@contextmanager
def run_sandbox(options: Mapping[str, Any]) -> Iterator[RunningSandbox]:
    """Run a sandbox with these options; fail the test if it cannot be started."""
    settings = {name: value for name, value in options.items() if name != _ALLOW}
    with ExitStack() as stack:
        try:
            sandbox = Sandbox(**settings)
            portal = stack.enter_context(start_blocking_portal("asyncio", name="diffio-sandbox"))
            stack.enter_context(portal.wrap_async_context_manager(sandbox))
        except (SandboxError, TypeError, ValueError) as error:
            pytest.fail(f"the sandbox cannot be started: {error}", pytrace=False)
        yield RunningSandbox(sandbox, portal, options)


class RunningSandbox:
    """A sandbox, its options, and how many of its violations were reported."""

    def __init__(
        self, sandbox: Sandbox, portal: BlockingPortal, options: Mapping[str, Any]
    ) -> None:
        self.sandbox = sandbox
        self.options = options
        self._portal = portal
        self._reported = 0

    def require_same(self, options: Mapping[str, Any]) -> None:
        """Fail a test that needs other options than those of the sandbox that tests share."""
        other = [
            name
            for name, value in options.items()
            if name != _ALLOW and (name not in self.options or value != self.options[name])
        ]
        if other:
            pytest.fail(
                f"@pytest.mark.diffio({other[0]}=…) has no effect: the sandbox is shared with "
                "other tests (diffio_scope). Mark the whole scope, override the fixture "
                "diffio_options, or remove diffio_scope",
                pytrace=False,
            )

    def take_violations(self) -> list[str]:
        """Return the violations that were not reported yet."""
        violations = self.sandbox.violations
        new, self._reported = violations[self._reported :], len(violations)
        return new

    def check(self, options: Mapping[str, Any]) -> None:
        """Fail the test if there are violations that were not reported yet."""
        violations = self.take_violations()
        if violations and not options.get(_ALLOW):
            lines = "".join(f"\n  {violation}" for violation in violations)
            pytest.fail(
                f"the test sent requests that break the contract of the API:{lines}\n"
                "Correct the program. If a test sends them intentionally, mark it with "
                f"@pytest.mark.diffio({_ALLOW}=True)",
                pytrace=False,
            )

    def close_client(self, client: AsyncDiffio) -> None:
        """Close a client on the event loop that the test used it on."""
        loops = client._sender.sessions.idle_loops()  # noqa: SLF001 - not public
        if loops:
            # The plugin that runs the test closes its loop later; connections close on their own.
            loops[-1].run_until_complete(client.aclose())
        else:
            self._portal.call(client.aclose)
