"""Systems: what differs between POSIX and Windows is behind one interface, with a twin for each."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async import _system

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "diffio_async"

#: Modules that may use what only one system has. The bridge and the sandbox import nothing of the
#: package, so they have their own.
SYSTEM_MODULES = {
    "_system/__init__.py",
    "_system/posix.py",
    "_system/windows.py",
    "_bridge/system.py",
    "sandbox/system.py",
}
#: Modules of the standard library that one system lacks.
MODULES = frozenset(
    """_posixsubprocess _winapi crypt fcntl grp msvcrt nt posix pty pwd resource syslog termios tty
    winreg winsound""".split()  # noqa: SIM905 - shorter than a list
)
#: Names of the standard library that one system lacks, or that have another effect there.
NAMES = {
    "os": """O_BINARY O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK RWF_NOWAIT ST_RDONLY WNOHANG chown
        chroot fchdir fchmod fchown fdatasync fork forkpty fstatvfs getegid geteuid getgid getgroups
        getloadavg getpgid getpgrp getpriority getsid getuid kill killpg lchown lockf mkfifo mknod
        nice openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn pread preadv pwrite
        pwritev register_at_fork rename replace sched_getaffinity sched_setaffinity sendfile setpgid
        setpriority setsid setuid startfile statvfs sysconf uname wait3 wait4 waitid waitpid""",
    "signal": """CTRL_BREAK_EVENT CTRL_C_EVENT SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE
        SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH alarm pause pthread_kill pthread_sigmask
        setitimer siginterrupt sigwait""",
    "select": "devpoll epoll kqueue poll select",
    "socket": "AF_UNIX SO_REUSEPORT send_fds",
    "asyncio": "ProactorEventLoop open_unix_connection start_unix_server",
    "sys": "getwindowsversion platform",
}
#: Other uses, each with its reason.
ALLOWED = {
    # A name in a table or a message, not a call.
    ("sandbox/audio/denoising.py", "sys.platform"),
    ("cli/doctor/local.py", "sys.platform"),
}


def uses(tree: ast.AST) -> Iterator[str]:
    """Yield what a module uses that one system lacks."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (each.name for each in node.names if each.name in MODULES)
            case ast.ImportFrom(module=str() as module):
                if module in MODULES:
                    yield module
                names = NAMES.get(module, "").split()
                yield from (f"{module}.{each.name}" for each in node.names if each.name in names)
            case ast.Attribute(value=ast.Name(id="os"), attr="name"):
                yield "os.name"
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                if name in NAMES.get(module, "").split():
                    yield f"{module}.{name}"
            case _:
                pass


def test_one_module_for_each_system_has_what_only_that_system_has() -> None:
    """No other module imports `fcntl` or calls `os.fork`, nor reads the name of the system."""
    found = {
        (name, use)
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE).as_posix()) not in SYSTEM_MODULES
        for use in uses(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f():\n    import fcntl", "fcntl"),
        ("from msvcrt import locking", "msvcrt"),
        ("from os import fork", "os.fork"),
        ("import os\nif os.name == 'nt': pass", "os.name"),
        ("import sys\nif sys.platform == 'win32': pass", "sys.platform"),
        ("import os, signal\nos.kill(1, signal.SIGTERM)", "os.kill"),
        ("import signal\nhandle(signal.SIGHUP)", "signal.SIGHUP"),
    ],
)
def test_a_planted_use_is_found(code: str, expected: str) -> None:
    """The check above finds imports in functions, names that are imported, and attributes."""
    assert list(uses(ast.parse(code))) == [expected]


def interface(name: str) -> dict[str, str]:
    """Return the public names that a twin defines, with the parameters of functions."""
    found = {}
    tree = ast.parse((PACKAGE / "_system" / name).read_text(encoding="utf-8"))
    for node in tree.body:
        match node:
            case ast.FunctionDef():
                found[node.name] = ast.unparse(node.args)
            case ast.Assign(targets=[ast.Name(id=constant)]):
                found[constant] = "constant"
            case ast.AnnAssign(target=ast.Name(id=constant)):
                found[constant] = "constant"
            case _:
                pass
    return {name: kind for name, kind in found.items() if not name.startswith("_")}


def test_the_twins_have_the_same_interface() -> None:
    """Each name that one system defines, the other defines with the same parameters."""
    posix = interface("posix.py")
    assert posix == interface("windows.py")
    assert {*posix} == {*_system.__all__}
