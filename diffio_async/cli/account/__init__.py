"""The commands that show the account: usage, projects, generations, keys, and their options."""

from typing import Annotated

import typer

from diffio_async.cli.command import (
    CALL_EXIT_CODES,
    ApiKeyIdOption,
    CacertOption,
    JsonOption,
    NetworkOptions,
    ProxyOption,
    exit_if_refused,
    network_options,
    run_and_exit,
)

projects_app = typer.Typer(name="projects", help="List the projects.", no_args_is_help=True)
generations_app = typer.Typer(
    name="generations", help="List the generations of a project, or show one.", no_args_is_help=True
)
keys_app = typer.Typer(
    name="keys", help="List, create, rotate and revoke API keys.", no_args_is_help=True
)
groups = (projects_app, generations_app, keys_app)

LimitOption = Annotated[
    int, typer.Option(min=0, metavar="NUMBER", help="Maximum number of rows; 0 lists all.")
]
KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="Id of the key, as `keys list` shows it.")
]


def usage(
    api_key_id: ApiKeyIdOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Show what an API key has used, by period and model, and what the account has paid.

    The API key is read from DIFFIO_API_KEY and needs the scope usage:read; with account:read, the
    currency is known.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.usage import print_usage

    run_and_exit(lambda: print_usage(api_key_id, as_json=as_json), as_json=as_json)


@projects_app.command("list", epilog=CALL_EXIT_CODES)
def list_projects(
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """List the projects, the newest first (scope projects:read)."""
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.listings import print_projects

    run_and_exit(lambda: print_projects(limit, as_json=as_json), as_json=as_json)


@generations_app.command("list", epilog=CALL_EXIT_CODES)
def list_generations(
    project: Annotated[str, typer.Option(metavar="ID", help="Id of the project.")],
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """List the generations of a project, the newest first (scope generations:read)."""
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.listings import print_generations

    run_and_exit(lambda: print_generations(project, limit, as_json=as_json), as_json=as_json)


@generations_app.command("show", epilog=f"A failed generation was found, too. {CALL_EXIT_CODES}")
def show_generation(
    generation: Annotated[
        str, typer.Argument(metavar="GENERATION", help="Id or handle of the generation.")
    ],
    project: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of its project; a handle contains it.")
    ] = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Show the state of a generation, and what to do next (scope generations:read)."""
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.listings import print_generation

    run_and_exit(lambda: print_generation(generation, project, as_json=as_json), as_json=as_json)


@keys_app.command("list", epilog=CALL_EXIT_CODES)
def list_keys(
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """List the API keys, the newest first, without their secrets (scope keys:read)."""
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.keys import print_keys

    run_and_exit(lambda: print_keys(limit, as_json=as_json), as_json=as_json)


@keys_app.command("create", epilog=CALL_EXIT_CODES)
def create_key(
    label: Annotated[
        str, typer.Argument(metavar="LABEL", help="What the key is for, in 80 characters.")
    ],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What the key may do, such as projects:read, projects:write, generations:read, "
            "generations:write, artifacts:read, usage:read; may be repeated.",
        ),
    ],
    resource_bounds: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Resources that the key is limited to: a JSON object."),
    ] = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Create an API key, and print its secret on standard output, once (scope keys:write).

    KEY=$(diffio-async keys create worker --scope projects:write) stores the secret in a variable.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.keys import create, parse_bounds

    run_and_exit(
        lambda: create(label, scopes, parse_bounds(resource_bounds), as_json=as_json),
        as_json=as_json,
    )


@keys_app.command("rotate", epilog=CALL_EXIT_CODES)
def rotate_key(
    key_id: KeyArgument,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Replace the secret of a key, and print the new one on standard output, once.

    The old secret is invalid from then on. The calling key needs the scope keys:write.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.keys import rotate

    run_and_exit(lambda: rotate(key_id, as_json=as_json), as_json=as_json)


@keys_app.command("revoke", epilog=f"1 also if the prompt is declined. {CALL_EXIT_CODES}")
def revoke_key(
    key_id: KeyArgument,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Revoke without a prompt. Required if there is no terminal."),
    ] = False,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Revoke a key permanently, after a prompt (scope keys:write)."""
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.account.keys import confirm_revocation, revoke

    if not yes:
        # Not in the event loop, in which Ctrl-C would not end the prompt.
        with exit_if_refused(as_json=as_json):
            confirm_revocation(key_id)
    run_and_exit(lambda: revoke(key_id, as_json=as_json), as_json=as_json)
