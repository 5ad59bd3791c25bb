"""`monitor embed`: the latent vectors of a data file."""

from pathlib import Path
from typing import Annotated

import typer


def embed(
    bundle: Annotated[Path, typer.Argument(help="Folder of a trained bundle.")],
    file: Annotated[Path, typer.Argument(help="Data in any format that train reads.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .parquet, .csv or .npy file to write.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Write the latent vectors of a file: what the network narrows each vector to."""
    from rich.console import Console

    from monitor.bundle import load
    from monitor.embed import check_output
    from monitor.embed import embed as write_embedding

    console = Console(stderr=True)
    check_output(output)
    detector, manifest = load(bundle, device)
    with console.status("embedding") as status:
        done = write_embedding(
            detector, file, output, lambda count: status.update(f"{count:,} vectors")
        )
    skipped = f"; {done.rejected:,} rows are no vectors of the spec" if done.rejected else ""
    console.print(
        f"wrote {output}: row, error and {done.width} latent numbers of {done.vectors:,} vectors, "
        f"by bundle {manifest.bundle_id} ({manifest.network.name}){skipped}",
        markup=False,
        soft_wrap=True,
    )
