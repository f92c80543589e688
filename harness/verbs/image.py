"""`harness image`: container images of the methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
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
    """Say whether an image holds the present sources and what docker/images.lock says; status 1 if not."""
    from harness import images
    from harness.engine import connect
    from harness.image_contents import differences, read_contents, read_lock

    terminal, tag = console(), images.method_tag(method)
    state = images.verify(method)
    terminal.print(f"{tag}: {state.value}", markup=False)
    if state is not images.ImageState.CURRENT:
        raise typer.Exit(1)
    contents = read_contents(connect(), tag)
    wrong = differences(read_lock(method), contents.packages)
    for words in wrong:
        terminal.print(f"  {words}", markup=False, highlight=False)
    pinned = "not pinned" if contents.snapshot == "unpinned" else f"as of {contents.snapshot}"
    terminal.print(
        f"{len(contents.packages)} packages, {len(wrong)} other than locked; those of Debian are {pinned}"
    )
    if wrong:
        raise typer.Exit(1)


@app.command("lock")
def lock(
    methods: Annotated[
        list[str] | None, typer.Argument(help="Images beside base that have own packages.")
    ] = None,
) -> None:
    """Write docker/images.lock from the images that are there and current."""
    from harness import images
    from harness.engine import connect
    from harness.image_contents import LOCK, read_contents, write_lock

    client, found = connect(), {}
    for name in dict.fromkeys(["base", *(methods or [])]):
        if images.verify(name, client=client) is not images.ImageState.CURRENT:
            raise InputError(
                f"the image of {name} is not current: build it with `harness image build {name}`"
            )
        found[name] = read_contents(client, images.method_tag(name))
    write_lock(found)
    console().print(f"{LOCK}: {len(found['base'].packages)} packages of base", markup=False)


@app.command("layers")
def layers(method: Annotated[str, typer.Argument(help="Method whose image to look at.")]) -> None:
    """Say how large each layer of an image is, and what made it."""
    from rich.table import Table
    from rich.text import Text

    from harness import images
    from harness.engine import connect
    from harness.image_contents import layers as layers_of

    found = layers_of(connect(), images.method_tag(method))
    table = Table("MB", "made by")
    table.columns[0].justify = "right"
    for layer in found:
        table.add_row(f"{layer.size / 1e6:,.1f}", Text(layer.made_by, overflow="fold"))
    terminal = console()
    terminal.print(table)
    terminal.print(f"{sum(layer.size for layer in found) / 1e6:,.1f} MB in all")
