"""Command-line entry point: options, environment lines, signals and terminal output.

Output is escaped, and a failure of the terminal never stops the sandbox.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from diffio_async.sandbox.faults import PlanError, read_plan
from diffio_async.sandbox.request_log import ServerErrorLimit, printable
from diffio_async.sandbox.server import Sandbox
from diffio_async.sandbox.settings import DEFAULT_KEY, GiB, SandboxError
from diffio_async.sandbox.system import HANGUP


def print_lines(*lines: str) -> None:
    """Print lines on standard output."""
    _write(sys.stdout, lines)


def print_error(*lines: str) -> None:
    """Print lines on standard error."""
    _write(sys.stderr, lines)


def _write(stream: object, lines: tuple[str, ...]) -> None:
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = "".join(f"{printable(line)}\n" for line in lines)
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]
    except (AttributeError, LookupError, OSError, ValueError):
        # The stream is missing or closed, its disk is full, or its reader is gone.
        return


def discard_unwritten() -> None:
    """Discard output that cannot be written, or the interpreter would exit with status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except AttributeError:
            continue
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as null:
                os.dup2(null.fileno(), stream.fileno())


class PrintedLog(logging.Handler):
    """Log handler that escapes records, so that client input cannot forge log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(ServerErrorLimit())

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record and its traceback."""
        try:
            lines = [f"{record.levelname} {record.getMessage()}"]
            if record.exc_info and record.exc_info[1] is not None:
                trace = traceback.TracebackException.from_exception(record.exc_info[1])
                for text in trace.format():
                    # Frames have several lines. Error messages may contain client input.
                    frame = text.startswith("  File ")
                    lines += text.rstrip("\n").split("\n") if frame else [f"  {text.strip()}"]
        except Exception:  # noqa: BLE001 - a record that cannot be formatted is skipped
            return
        print_error(*lines)


def print_log(level: int) -> None:
    """Print log records from a level on, unless logging is already configured."""
    logging.basicConfig(level=level, handlers=[PrintedLog()])


PORT = 8490


async def run(sandbox: Sandbox, *, ready: Callable[[Sandbox], None]) -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP, then close cleanly.

    Args:
        sandbox: A sandbox that is not running.
        ready: Called when the sandbox listens.

    Raises:
        SandboxError: The sandbox cannot start.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals: list[int] = [signal.SIGINT, signal.SIGTERM]
    # The signal of a closed terminal, unless `nohup` ignores it.
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        signals.append(HANGUP)
    async with sandbox:
        for signal_number in signals:
            # If the loop cannot handle signals, Ctrl-C arrives as a cancellation instead.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal_number, stopped.set)
        try:
            ready(sandbox)
            await stopped.wait()
        finally:
            for signal_number in signals:
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.remove_signal_handler(signal_number)


def environment_lines(sandbox: Sandbox) -> list[str]:
    """Return `export NAME=value` lines for a shell."""
    return [f"export {name}={shlex.quote(text)}" for name, text in _variables(sandbox).items()]


def announce(sandbox: Sandbox, *, env_file: str | os.PathLike[str] | None = None) -> None:
    """Print the environment as lines for a shell, and write it to `env_file` as `NAME=value`.

    Raises:
        OSError: The file cannot be written.
    """
    if env_file is not None:
        lines = (f"{name}={text}\n" for name, text in _variables(sandbox).items())
        _write_private(Path(env_file), "".join(lines))
    print_lines(*environment_lines(sandbox))


def _variables(sandbox: Sandbox) -> dict[str, str]:
    return {**sandbox.environment, **sandbox.webhook_environment}


def _write_private(file: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sandbox with options from the command line; return the exit code."""
    options = vars(_parser().parse_args(arguments))
    env_file, plan = options.pop("env_file"), options.pop("faults")
    print_log(logging.INFO)
    try:
        sandbox = Sandbox(**options, faults=read_plan(plan) if plan else ())
        asyncio.run(run(sandbox, ready=partial(announce, env_file=env_file)))
    except (SandboxError, PlanError, OSError, ValueError) as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m diffio_async.sandbox",
        description="Run a local Diffio and print the environment that points a client at it.",
    )
    parser.add_argument("--port", type=int, default=PORT, help="the API's port; 0 for any free one")
    parser.add_argument("--data", help="a folder that outlives the run (default: a temporary one)")
    parser.add_argument("--env-file", help="write the environment there too, as NAME=value lines")
    parser.add_argument("--faults", help="a JSON plan of faults")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--legacy-models", action="store_true", help="serve retired models instead of a 410"
    )
    parser.add_argument(
        "--api-key",
        default=os.environ.get("DIFFIO_SANDBOX_API_KEY") or DEFAULT_KEY,
        help="the key that it accepts",
    )
    parser.add_argument("--public-url", help="the URL at which clients reach the sandbox")
    parser.add_argument(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        default=[],
        help="a name in Host headers to accept",
    )
    parser.add_argument("--engine", choices=("restore", "echo"), default="restore")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds an echo takes")
    parser.add_argument(
        "--duration-spread", type=float, default=0.0, help="the share by which echoes differ"
    )
    parser.add_argument("--allow-remote", action="store_true", help="listen beyond loopback")
    parser.add_argument(
        "--allow-remote-webhooks", action="store_true", help="deliver beyond loopback too"
    )
    parser.add_argument(
        "--max-recording-seconds", type=float, default=6 * 3600.0, help="longer recordings fail"
    )
    parser.add_argument(
        "--max-decoded-bytes", type=int, default=6 * GiB, help="those that decode to more fail"
    )
    parser.add_argument(
        "--max-processing-seconds",
        type=float,
        default=4 * 3600.0,
        help="so do slower restorations",
    )
    parser.add_argument(
        "--webhook-pace", type=float, default=1.0, help="below 1 hurries deliveries' retries"
    )
    parser.add_argument(
        "--webhook-duplicates", type=float, default=0.0, help="the share delivered twice"
    )
    parser.add_argument(
        "--webhook-shuffle", type=float, default=0.0, help="seconds by which events may be late"
    )
    return parser
