"""The documented example for containers, in two network namespaces."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
PREFIX = f"diffio{os.getpid() % 10_000}"
SANDBOX, APP = f"{PREFIX}s", f"{PREFIX}a"
ADDRESS = {SANDBOX: "192.0.2.1", APP: "192.0.2.2"}

pytestmark = pytest.mark.slow


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def two_machines() -> Iterator[None]:
    """Network namespaces `SANDBOX` and `APP` with a cable between them and names in /etc/hosts."""
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (iproute2)")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    names = "127.0.0.1 localhost\n192.0.2.1 sandbox\n192.0.2.2 app\n"
    try:
        for space in ADDRESS:
            try:
                ip("netns", "add", space)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
            etc = Path("/etc/netns") / space
            etc.mkdir(parents=True)
            (etc / "hosts").write_text(names)
        ip("link", "add", SANDBOX, "netns", SANDBOX, "type", "veth", "peer", APP, "netns", APP)
        for space, address in ADDRESS.items():
            ip("-n", space, "addr", "add", f"{address}/24", "dev", space)
            for device in ("lo", space):
                ip("-n", space, "link", "set", device, "up")
        yield
    finally:
        for space in ADDRESS:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
            shutil.rmtree(Path("/etc/netns") / space, ignore_errors=True)


def compose(service: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a service in the page's compose file."""
    page = (HERE / "docs" / "sandbox.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    part = re.search(rf"^  {service}:\n((?:    .*\n)+)", block, re.MULTILINE)
    assert part is not None
    command = re.search(r"exec (diffio-async [^\"]*)\"", part[1])
    assert command is not None
    variables = re.findall(r"^      (DIFFIO_\w+): \"?([^\"\n]*)\"?$", part[1], re.MULTILINE)
    return command[1].split(), dict(variables)


def inside(
    space: str, arguments: list[str], folder: Path, **variables: str
) -> "subprocess.Popen[str]":
    """Start a command of the package in a namespace, with no other variables of Diffio's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIFFIO_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return subprocess.Popen(
        ["ip", "netns", "exec", space, *arguments],
        cwd=folder,
        env={**kept, "PATH": path, "COLUMNS": "100", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def served(two_machines: None, tmp_path: Path) -> Iterator[None]:
    """The page's sandbox, in its namespace, once it listens."""
    command, _ = compose("sandbox")
    process = inside(SANDBOX, command, tmp_path)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0] == "export DIFFIO_API_KEY=diffio_sandbox_key\n", process.stderr
        yield
    finally:
        process.terminate()
        process.communicate(timeout=120)


def test_the_compose_example_restores_across_machines(served: None, tmp_path: Path) -> None:
    """With the opt-in, a variable or an option, it restores; without it nothing is sent."""
    shutil.copy(HERE / "samples" / "noisy-speech.wav", tmp_path / "noisy-speech.wav")
    command, variables = compose("app")
    command = [word.removeprefix("/src/samples/") for word in command]
    shy = {k: v for k, v in variables.items() if k != "DIFFIO_ALLOW_INSECURE_HTTP"}
    refused = inside(APP, command, tmp_path, **shy)
    _out, errors = refused.communicate(timeout=120)
    assert refused.returncode == 2
    assert "DIFFIO_ALLOW_INSECURE_HTTP=1" in errors
    option = [command[0], "--allow-insecure-http", *command[1:]]
    done = inside(APP, option, tmp_path, **shy)
    _out, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    done = inside(APP, command, tmp_path, **variables)
    _out, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    assert errors.count("unencrypted to http://sandbox:8490/v1") == 1
    assert (tmp_path / "noisy-speech.restored.mp3").stat().st_size > 10_000


def test_only_the_published_port_is_needed(served: None, tmp_path: Path) -> None:
    """The sandbox listens on 8490 alone, so a container publishes all of it."""
    listening = inside(SANDBOX, ["cat", "/proc/net/tcp", "/proc/net/tcp6"], tmp_path)
    out, _ = listening.communicate(timeout=120)
    ports = {
        int(row.split()[1].rpartition(":")[2], 16) for row in out.splitlines() if " 0A " in row
    }
    assert ports == {8490}


def test_a_foreign_host_is_refused_from_another_machine(served: None, tmp_path: Path) -> None:
    """The sandbox's address may be used, a public name that resolves to it may not."""
    program = (
        "import urllib.request as u, urllib.error\n"
        "for host in ('192.0.2.1:8490', 'evil.example'):\n"
        "    r = u.Request('http://192.0.2.1:8490/v1/list_projects', b'{}', {'Host': host,"
        " 'Content-Type': 'application/json', 'X-Api-Key': 'diffio_sandbox_key'})\n"
        "    try: print(u.urlopen(r).status)\n"
        "    except urllib.error.HTTPError as e: print(e.code)\n"
    )
    ran = inside(APP, [sys.executable, "-c", program], tmp_path)
    out, errors = ran.communicate(timeout=120)
    assert out.split() == ["200", "421"], errors
