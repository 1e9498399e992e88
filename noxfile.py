"""Sessions of development: `nox` runs what CI runs, `nox -l` lists the others.

The network is used for installing only: tests use a sandbox on loopback.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests", "package", "docs"]
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

HERE = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROJECT = nox.project.load_toml("pyproject.toml")


def tools(group: str) -> list[str]:
    """Return the pinned tools of one dependency group."""
    return list(nox.project.dependency_groups(PROJECT, group))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling."""
    session.install(*tools("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    workflow = ".github/workflows/ci.yml"
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy (strict) and pyright."""
    session.install("-e", ".[all,test]", *tools("types"), *tools("browser"))
    session.run("mypy")
    # On the other systems, the package; tests and benchmarks use what their system has.
    for system in ("darwin", "win32"):
        cache = str(Path(session.create_tmp()) / system)
        options = ("--platform", system, "--cache-dir", cache)
        session.run("mypy", *options, "diffio_async", "samples")
    session.run("pyright")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run every test on every Python that is found, and print the coverage."""
    session.install("-e", ".[all,test]", "pytest-cov==7.1.0")
    # From 3.12 on, coverage counts with `sys.monitoring`, which costs little.
    env = {"COVERAGE_CORE": "sysmon"} if session.python != "3.11" else {}
    session.run("pytest", "-n", "2", "--cov", "--cov-report=term", *session.posargs, env=env)


@nox.session
def fast(session: nox.Session) -> None:
    """Run the fast tests, for every change."""
    session.install("-e", ".[all,test]")
    session.run("pytest", "-m", "not slow", "-n", "4", *session.posargs)


@nox.session
def uvloop(session: nox.Session) -> None:
    """Run the fast tests of what uses the event loop on that of uvloop."""
    session.install("-e", ".[all,test]", "uvloop==0.23.0")
    areas = [f"tests/{area}" for area in ("http", "polling", "uploads", "downloads", "batch")]
    arguments = ("-m", "not slow", "-n", "2", *(session.posargs or areas))
    session.run("pytest", *arguments, env={"DIFFIO_TEST_UVLOOP": "1"})


@nox.session(name="tests-min", python=PYTHONS[0])
def tests_min(session: nox.Session) -> None:
    """Run every test with the lowest version of each declared dependency."""
    session.install("uv")
    # Not in `create_tmp()`: the tests would then create their folders in it, and it is private.
    lowest = Path(session.virtualenv.location) / "lowest.txt"
    session.run(
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
        *("--resolution", "lowest-direct", "--python", f"{session.virtualenv.bin}/python"),
        *("--extra", "all", "--extra", "test", "--output-file", str(lowest), "pyproject.toml"),
        silent=True,
    )
    session.install("-r", str(lowest))
    session.install("--no-deps", "-e", ".")
    session.run("pytest", *session.posargs)


def environment(session: nox.Session, name: str, package: str) -> Path:
    """Create an environment with one package; return its Python."""
    folder = Path(session.create_tmp()) / name
    python = folder / Path(session.bin).name / "python"
    if session.venv_backend == "uv":
        session.run("uv", "venv", "--quiet", "--clear", "--python", "python", str(folder))
        session.run("uv", "pip", "install", "--quiet", "--python", str(python), package)
    else:
        session.run("python", "-m", "venv", "--clear", str(folder))
        session.run(str(python), "-m", "pip", "install", "--quiet", package, external=True)
    return python


def build(session: nox.Session) -> tuple[Path, Path]:
    """Build the wheel and the sdist; return their folder, and a Python with the wheel alone."""
    uv = session.venv_backend == "uv"
    session.install("build[uv]" if uv else "build")
    dist = Path(session.create_tmp()) / "dist"
    session.run("python", "-c", f"import shutil; shutil.rmtree({str(dist)!r}, ignore_errors=True)")
    installer = "uv" if uv else "pip"
    session.run(
        *("python", "-m", "build", "--installer", installer, "--outdir", str(dist)), silent=True
    )
    (wheel,) = dist.glob("*.whl")
    python = environment(session, "clean", str(wheel))
    check = HERE / ".ci" / "check_package.py"
    session.run(str(python), "-I", str(check), str(dist), external=True)
    return dist, python


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the sdist, and check their contents and the import without extras."""
    build(session)


@nox.session
def release(session: nox.Session) -> None:
    """Build and check a release, write its SBOM, and print how to publish it; upload nothing."""
    session.install(*tools("release"))
    dist, python = build(session)
    session.run("twine", "check", "--strict", *map(str, sorted(dist.glob("*.[wt]*"))))
    script = str(HERE / ".ci" / "prepare_release.py")
    session.run("python", script, str(dist), str(python), *session.posargs)


@nox.session
def interop(session: nox.Session) -> None:
    """Run the published SDKs, each in an environment of its own, against the sandbox."""
    # With uv, the fixtures of these tests create their environments in seconds.
    session.install("-e", ".[all,test]", *(["uv"] if session.venv_backend == "uv" else []))
    session.run("pytest", "tests/interop", *session.posargs)


@nox.session
def compat(session: nox.Session) -> None:
    """Run one suite on the published `diffio` and on `diffio_async.compat`.

    The published package requires svix below 2, so webhooks are verified with svix 1.84.1 too.
    """
    session.install("-e", ".[all,test]", "diffio==0.3.10", "svix==1.84.1")
    verification = ("test_verifier.py", "test_known_answers.py", "test_diagnose.py")
    tests = [f"tests/webhooks/{name}" for name in verification]
    session.run("pytest", "tests/compat/published", *tests, *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Run the tests in the Chromium of this machine, and write screenshots into docs/."""
    session.install("-e", ".[all,docs,test]", *tools("browser"))
    env = {"DIFFIO_SCREENSHOTS": str(HERE / "docs")}
    session.run("pytest", "tests/browser", *session.posargs, env=env)


@nox.session
def chaos(session: nox.Session) -> None:
    """Run the stress test of batches: 300 files, faults everywhere, 24 SIGKILLs."""
    session.install("-e", ".[all,test]")
    arguments = session.posargs or ("--files", "300", "--kills", "24")
    session.run("python", "-m", "tests.batch.chaos", *arguments)


@nox.session
def cluster_chaos(session: nox.Session) -> None:
    """Run the stress test of batches on a cluster: 300 files, SIGKILL of each kind of process."""
    session.install("-e", ".[all,test]")
    session.run("python", "-m", "tests.cluster.chaos", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; every warning is an error."""
    session.install("-e", ".[docs,dask,cli,otel,taskiq,testing]")
    session.run("sphinx-build", "-W", "-n", "-q", "-b", "html", "docs", "docs/_build/html")


@nox.session
def bench(session: nox.Session) -> None:
    """Run all benchmarks beside the published SDK; `-- --quick` takes three minutes."""
    session.install("-e", ".[all,test]")
    arguments = list(session.posargs)
    if "--published" not in arguments:
        python = environment(session, "published", "diffio==0.3.10")
        arguments += ["--published", str(python)]
    session.run("python", "benchmarks", *arguments)
