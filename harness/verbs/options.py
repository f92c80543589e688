"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Executor = Annotated[
    str, typer.Option(help="docker, local, apptainer, slurm, or auto: Docker when an engine answers.")
]
Weights = Annotated[
    list[str] | None, typer.Option(help="'none' for random initial weights, FILE, NAME=FILE; repeatable.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override, as in stages.cam.train_cfg.max_epochs=1."),
]
Aux = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=DIR", help="Folder of auxiliary maps, as in saliency=DIR; repeatable."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use this many images of each split.")]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="A few iterations and images per stage, all else unabridged.")
]
LogTo = Annotated[
    list[str] | None,
    typer.Option("--log-to", metavar="TOOL", help="Log trainings to mlflow or wandb too; repeatable."),
]
Memory = Annotated[
    float | None,
    typer.Option(min=0.01, help="Memory of a stage's container in GiB; 90 % of the machine's unless set."),
]
Timeout = Annotated[float, typer.Option(min=1, help="Time limit of a stage in seconds.")]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes that share trainings and networks, without GPUs; with GPUs one for each."
    ),
]
_SLURM = "With --executor slurm"
Partition = Annotated[str | None, typer.Option(help="Partition of the cluster.", rich_help_panel=_SLURM)]
Time = Annotated[
    str | None,
    typer.Option(metavar="D-HH:MM:SS", help="Time limit of each run's job.", rich_help_panel=_SLURM),
]
Constraint = Annotated[
    str | None, typer.Option(help="Features that a node must have.", rich_help_panel=_SLURM)
]
Container = Annotated[
    str | None,
    typer.Option(
        metavar="docker|apptainer|none", help="What stages run in on the node.", rich_help_panel=_SLURM
    ),
]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE", help="Any option of sbatch, as in account=vision.", rich_help_panel=_SLURM
    ),
]
