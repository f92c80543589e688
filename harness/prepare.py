"""From what a user typed to a plan: config, data, weights, environment and keys."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import METHODS, Override, find_config, is_config, load_config
from harness.data import open_dataset
from harness.data.auxiliary import Maps, check_maps, parse_folders, stand_in
from harness.data.dataset import Dataset
from harness.errors import InputError, nearest
from harness.executors import Environment, Executor, choose
from harness.hardware import Hardware, describe
from harness.imported import import_stages, require_predictions
from harness.plan import Ingredients, Plan, make_plan, order_stages, require_stages
from harness.processes import require_even_batch
from harness.schema import ForeignStage, MethodConfig, TrainStage
from harness.source import source_hash
from harness.training_logs import require_tools
from harness.weights import ResolvedWeights, Weights

SMOKE_IMAGES = 8
_TICK = 3.0  # seconds between two lines about long work
# The part of the engine that numbers come from; the rest only moves them.
_STAGE_SOURCE = (
    *("stages", "ops", "metrics", "data", "inference.py", "weights.py", "conversion.py"),
    *("evaluation.py", "prediction_source.py", "npz.py"),
)


@dataclass(frozen=True)
class RunOptions:
    """What a user may ask of a run; see `harness run --help`."""

    method: str
    dataset: str
    variant: str | None = None
    data_root: Path | None = None
    work: Path = Path("work")
    executor: str = "auto"
    gpus: int | None = None
    processes: int | None = None
    seed: int = 0
    limit: int | None = None
    smoke: bool = False
    weights: Sequence[str] = ()
    auxiliary: Sequence[str] = ()
    use: Sequence[str] = ()
    log_to: Sequence[str] = ()
    overrides: Sequence[Override] = ()
    timeout: float = 7 * 86400
    memory: float | None = None  # GiB that a stage may use
    start: str | None = None
    only: str | None = None
    force: bool = False
    wait: bool = False
    run_id: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to execute."""

    options: RunOptions
    config: MethodConfig
    dataset: Dataset
    ids: Mapping[str, Sequence[str]]
    fingerprint: str
    weights: Mapping[str, ResolvedWeights | None]
    auxiliary: Mapping[str, Maps]
    executor: Executor
    environment: Environment
    source: str
    hardware: Hardware
    gpus: int
    plan: Plan
    notices: Sequence[str] = field(default_factory=tuple)
    processes: int = 1


def prepare(options: RunOptions, say: Callable[[str], None]) -> Prepared:
    """Check everything that can be checked before the first stage.

    Args:
        options: the user's choices.
        say: receives a sentence for every decision that the user should know of.

    Raises:
        InputError: anything is wrong with what the user gave, or missing.
    """
    require_folder(options.work)
    config = load_config(find_config(options.method, options.dataset, options.variant), options.overrides)
    # Before downloads and image builds, which take minutes.
    require_stages(order_stages(config), start=options.start, only=options.only)
    hardware = describe()
    gpus = usable_gpus(options.gpus, len(hardware.gpus))
    processes = sharing_processes(options.processes, gpus)
    require_even_batches(config, processes, smoke=options.smoke)
    executor, reason = choose(options.executor, say)
    say(f"executor: {executor.name} ({reason})")
    dataset = open_dataset(
        options.dataset,
        options.data_root,
        progress=ticker(say, f"generating {options.dataset}"),
        labels=config.dataset.labels,
    )
    if dataset.num_classes != config.dataset.num_classes:
        raise InputError(
            f"the config is for {config.dataset.num_classes} classes, but dataset '{dataset.name}' has "
            f"{dataset.num_classes}: set dataset.num_classes and the models' classes, or use another config"
        )
    limit = SMOKE_IMAGES if options.smoke and options.limit is None else options.limit
    splits = list(dict.fromkeys(split for stage in config.stages.values() for split in stage.splits()))
    ids = {split: limited_ids(dataset, split, limit) for split in splits}
    compared = {split for stage in config.stages.values() if (split := stage.compared_split())}
    dataset.check(splits, masks_for=sorted(compared), progress=ticker(say, f"checking {options.dataset}"))
    for notice in dataset.notices:
        say(f"note: {notice}")
    foreign = {name: executor.image_id(name) for name in foreign_images(config)}
    weights = resolve_weights(config, options.weights)
    auxiliary = resolve_auxiliary(config, dataset, ids, options.auxiliary, say)
    environment = executor.environment(options.method)
    require_tools(config, options.log_to, environment, options.work)
    fingerprint = dataset.fingerprint(splits)
    source = stage_source_hash()
    ingredients = Ingredients(
        dataset={
            "name": dataset.name,
            "fingerprint": fingerprint,
            "ids": {split: _hash_ids(names) for split, names in ids.items()},
        },
        weights={
            name: f"{found.sha256} {found.layout}" if found else None for name, found in weights.items()
        },
        code=source,
        # Networks give slightly other numbers on a GPU.
        environment=f"{environment.identity} {'gpu' if gpus else 'cpu'}",
        seed=options.seed,
        shortened={"smoke": options.smoke},
        auxiliary={name: maps.content for name, maps in auxiliary.items()},
        images=foreign,
        processes=processes,
    )
    artifacts = options.work.resolve() / "artifacts"
    imported = import_stages(config, options.use, artifacts)
    plan = make_plan(config, ingredients, artifacts, imported)
    require_predictions(plan, ids, only=options.only)
    return Prepared(
        options,
        config,
        dataset,
        ids,
        fingerprint,
        weights,
        auxiliary,
        executor,
        environment,
        source,
        hardware,
        gpus,
        plan,
        tuple(dataset.notices),
        processes,
    )


def foreign_images(config: MethodConfig) -> list[str]:
    """Images that stages of the config name, each once."""
    stages = (stage for stage in config.stages.values() if isinstance(stage, ForeignStage))
    return list(dict.fromkeys(stage.foreign.image for stage in stages))


def ticker(say: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    """A progress callback (done, total) that says every few seconds how far it is and how long it takes."""
    began = last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TICK and 0 < done < total:
            last = now
            say(f"{what}: {done}/{total}, {(now - began) / done * (total - done):.0f} s to go")

    return tick


def usable_gpus(wanted: int | None, there: int) -> int:
    """How many GPUs a stage gets: what was asked for, by default one if there is one.

    Raises:
        InputError: more were asked for than there are.
    """
    if wanted is not None and wanted > there:
        raise InputError(f"--gpus {wanted}: this machine has {there} GPUs; ask for fewer")
    return min(1, there) if wanted is None else wanted


def sharing_processes(wanted: int | None, gpus: int) -> int:
    """How many processes share a training or the images of a network: one per GPU, or what was asked for.

    Raises:
        InputError: another number than that of the GPUs was asked for.
    """
    if wanted is not None and gpus and wanted != gpus:
        raise InputError(
            f"--processes {wanted}: a stage with {gpus} GPUs has one process for each; leave it out, or add "
            "--gpus 0"
        )
    return max(1, gpus) if wanted is None else wanted


def require_even_batches(config: MethodConfig, processes: int, *, smoke: bool) -> None:
    """Check that each training's batch can be shared; a smoke test's batch is made so.

    Raises:
        InputError: one cannot.
    """
    for name, stage in config.stages.items():
        if isinstance(stage, TrainStage) and not smoke:
            try:
                require_even_batch(stage.train_dataloader.batch_size, processes)
            except InputError as error:
                raise InputError(f"stages.{name}: {error}") from error


def require_folder(work: Path) -> None:
    """Check that the work folder is one or can be made.

    Raises:
        InputError: there is a file of that name, or above it.
    """
    for path in (work, *work.parents):
        if path.is_file():
            raise InputError(
                f"--work-dir {work} cannot be a folder, because {path} is a file: choose another"
            )


def limited_ids(dataset: Dataset, split: str, limit: int | None) -> Sequence[str]:
    """Ids of a split, or `limit` of them.

    Images of `train` come first, so that the shortened `train_aug` contains the shortened `train` as the full
    one does the full one.
    """
    ids = dataset.ids(split)
    if limit is None or limit >= len(ids):
        return ids
    train = set(dataset.ids("train")) if split != "train" else set()
    return sorted(ids, key=lambda image_id: image_id not in train)[:limit]


def resolve_weights(config: MethodConfig, choices: Sequence[str]) -> dict[str, ResolvedWeights | None]:
    """Files of the weights that the config names; None where training starts from random numbers.

    Args:
        choices: `none` for random numbers everywhere, `FILE` if the config names one file of weights only,
            `NAME=FILE` or `NAME=none` for one of several; a file that is not chosen comes from the
            registry, and is downloaded into the cache if it is not there.

    Raises:
        InputError: a choice is not clear or fits nothing, or a file cannot be had.
    """
    trainings = [stage for stage in config.stages.values() if isinstance(stage, TrainStage)]
    names = list(dict.fromkeys(stage.weights.name for stage in trainings if stage.weights))
    chosen: dict[str, str] = {}
    for choice in choices:
        name, equals, file = choice.partition("=")
        if equals and name not in names:
            raise InputError(
                f"--weights {choice}: the config does not use '{name}'{nearest(name, names)}; "
                f"it uses {', '.join(names) or 'none'}"
            )
        if not equals and choice != "none" and not names:
            raise InputError(f"--weights {choice}: no stage of this config starts from weights: leave it out")
        if not equals and choice != "none" and len(names) != 1:
            raise InputError(
                f"--weights {choice}: the config starts from {len(names)} weights ({', '.join(names)}); "
                f"say which one the file is for, as in --weights {names[0]}={choice}"
            )
        chosen |= {name: file} if equals else dict.fromkeys(names, choice)
    registry = Weights.load(METHODS / "weights.yaml")
    return {name: registry.resolve(name, chosen.get(name)) for name in names}


def resolve_auxiliary(
    config: MethodConfig,
    dataset: Dataset,
    ids: Mapping[str, Sequence[str]],
    choices: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, Maps]:
    """Folders of the auxiliary maps that the config names, with a map for each image that is trained on.

    Args:
        ids: image ids per split.
        choices: `NAME=DIR`.
        say: receives progress.

    Raises:
        InputError: a folder is missing where the dataset has no stand-in, or its maps do not fit the images.
    """
    images: dict[str, dict[str, None]] = {}
    for stage in config.stages.values():
        for name in stage.auxiliary if isinstance(stage, TrainStage) else ():
            images.setdefault(name, {}).update(dict.fromkeys(ids[stage.split]))
    folders = parse_folders(choices, list(images))
    for name, names in images.items():
        if name not in folders:
            folders[name] = stand_in(name, dataset, list(names), ticker(say, f"computing {name} maps"))
    return {
        name: Maps(
            folders[name],
            check_maps(name, folders[name], dataset, list(names), progress=ticker(say, f"checking {name}")),
        )
        for name, names in images.items()
    }


def stage_source_hash(methods: Path = METHODS) -> str:
    """Hash of the source that stages execute.

    Configs and `weights.yaml` are left out: what they say is in the keys of the stages that it concerns.
    """
    harness = Path(__file__).parent
    engine = [harness / name for name in _STAGE_SOURCE]
    return source_hash(
        engine + [path for path in methods.rglob("*.py") if not is_config(path.relative_to(methods))]
    )


def _hash_ids(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def cpu_workers() -> int:
    """Processes that the machine can run at once."""
    return len(os.sched_getaffinity(0))
