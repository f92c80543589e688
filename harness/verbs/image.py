"""`harness image`: container images of the methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs.terminal import console

app = typer.Typer(no_args_is_help=True, help="Container images of the methods.")


@app.command("build")
def build(
    method: Annotated[str, typer.Argument(help="Method whose image to build.")],
    base_image: Annotated[
        str, typer.Option(envvar="HARNESS_BASE_IMAGE", help="Debian image to start from.")
    ] = "debian:bookworm-slim",
    ca_bundle: Annotated[
        Path | None,
        typer.Option(envvar="HARNESS_CA_BUNDLE", help="Extra CA certificates for the build's network."),
    ] = None,
) -> None:
    """Build a method's image, and the base image where it is missing or stale."""
    from harness import images

    terminal = console()
    info = images.build(
        method,
        base_image=base_image,
        ca_bundle=ca_bundle,
        progress=lambda text: terminal.print(text, markup=False),
    )
    terminal.print(f"{info.tag} {info.size_bytes / (1 << 30):.2f} GiB", markup=False)


@app.command("list")
def list_() -> None:
    """List the images that are there."""
    from rich.table import Table

    from harness import images

    table = Table("image", "state", "size", "created (UTC)")
    table.columns[0].no_wrap = True
    for info in images.list_images():
        table.add_row(
            info.tag,
            info.state,
            f"{info.size_bytes / (1 << 30):.2f} GiB",
            info.created[:16].replace("T", " "),
        )
    console().print(table)


@app.command("verify")
def verify(method: Annotated[str, typer.Argument(help="Method whose image to verify.")]) -> None:
    """Say whether a method's image holds the present source and lock file; exit status 1 if not."""
    from harness import images

    state = images.verify(method)
    console().print(f"{images.method_tag(method)}: {state.value}", markup=False)
    if state is not images.ImageState.CURRENT:
        raise typer.Exit(1)
