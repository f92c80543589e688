"""From a finished run to predictions on VOC's test split: the stages behind one of its numbers, on `test`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from harness.artifact import Artifact
from harness.config import parse_override
from harness.data import open_dataset
from harness.data.dataset import Dataset
from harness.errors import InputError
from harness.executors import Executor, choose
from harness.hardware import describe
from harness.plan import Ingredients, make_plan
from harness.prepare import (
    Prepared,
    RunOptions,
    sharing_processes,
    stage_source_hash,
    ticker,
    usable_gpus,
)
from harness.record import RunRecord
from harness.schema import EvaluateStage, MethodConfig, TrainStage
from harness.submission import IMAGES, SPLIT, is_official

Number = Literal["seg", "seg_crf"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class SubmitOptions:
    """What a user may ask of a package; see `harness submit --help`.

    Attributes:
        work: the run's work folder.
        number: the number whose predictions are packed; None for `seg_crf`, or `seg` where there is none.
        trial: take shortened runs and other lists than the official one.
    """

    work: Path
    data_root: Path
    number: Number | None = None
    executor: str = "auto"
    gpus: int | None = None
    timeout: float = 7 * 86400
    trial: bool = False


@dataclass(frozen=True)
class Chain:
    """The stages that make the predictions of a number.

    Attributes:
        last: the stage whose output is packed.
        config: all that it depends on; inference and refinement set to `test`.
        trainings: the stages that they take their networks from.
    """

    number: Number
    last: str
    config: MethodConfig
    trainings: tuple[str, ...]


def prepare_submission(record: RunRecord, options: SubmitOptions, say: Say) -> tuple[Prepared, Chain]:
    """Check everything that can be checked before the first stage.

    Args:
        record: the finished run whose networks predict.
        options: the user's choices.
        say: receives a sentence for every decision that the user should know of.

    Raises:
        InputError: the run is not one that can be packed, its checkpoints are gone, or data are missing.
    """
    require_submittable(record, options.trial, say)
    chain = prediction_chain(_config_of(record), options.number, record.run_id)
    trained = {name: _trained(record, name, options.work) for name in chain.trainings}
    dataset = _open_test(options, say)
    executor, reason = choose(options.executor, say)
    say(f"executor: {executor.name} ({reason})")
    return _prepared(record, options, chain, trained, dataset, executor, say), chain


def prediction_chain(config: MethodConfig, number: Number | None, run: str) -> Chain:
    """The stages behind a number, with inference and refinement on `test`.

    Args:
        config: the run's.
        number: the number; None for `seg_crf`, or `seg` where there is none.
        run: its name, for messages.

    Raises:
        InputError: the config has no such number.
    """
    evaluated = {s.number: s for s in config.stages.values() if isinstance(s, EvaluateStage)}
    wanted: tuple[Number, ...] = (number,) if number else ("seg_crf", "seg")
    chosen = next((name for name in wanted if name in evaluated), None)
    if chosen is None:
        raise InputError(
            f"run {run} has no number {' or '.join(wanted)}, so nothing predicts '{SPLIT}': name a run of a "
            "method with a segmentation network"
        )
    (last,) = evaluated[chosen].inputs().values()
    predicting = _upstream(config, [last], stop_at_trainings=True)
    trainings = [name for name in predicting if isinstance(config.stages[name], TrainStage)]
    needed = predicting | _upstream(config, trainings, stop_at_trainings=False)
    stages = {
        name: stage.model_copy(update={"split": SPLIT}) if name in predicting - set(trainings) else stage
        for name, stage in config.stages.items()
        if name in needed
    }
    return Chain(chosen, last, config.model_copy(update={"stages": stages}), tuple(sorted(trainings)))


def _upstream(config: MethodConfig, names: Iterable[str], *, stop_at_trainings: bool) -> set[str]:
    """Stages with all that they depend on, or with that up to the next trainings."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        if not (stop_at_trainings and isinstance(config.stages[name], TrainStage)):
            waiting += [source for source in config.stages[name].inputs().values() if source not in found]
    return found


def require_submittable(record: RunRecord, trial: bool, say: Say) -> None:
    """Refuse runs that the server has no place for, and say what is unusual about the others.

    Raises:
        InputError: the run is on another dataset, not finished, or shortened without `trial`.
    """
    if record.dataset.name != "voc":
        raise InputError(
            f"run {record.run_id} is on '{record.dataset.name}', but only VOC 2012's '{SPLIT}' has a server "
            "that takes packages (COCO's val is evaluated here): name a run on voc"
        )
    if record.state != "done":
        raise InputError(f"run {record.run_id} is {record.state}: finish it with the same command first")
    if (record.smoke or record.limit is not None) and not trial:
        raise InputError(
            f"run {record.run_id} is a shortened one ({', '.join(record.marks)}), and the server counts "
            "submissions: name a full run, or pack it for a trial with --trial"
        )
    if record.marks:
        say(f"note: the run is no plain full one: {', '.join(record.marks)}")


def _config_of(record: RunRecord) -> MethodConfig:
    try:
        return MethodConfig.model_validate(record.config)
    except ValidationError as error:
        raise InputError(
            f"the config in the record of run {record.run_id} is of another version of the harness: "
            "run it again"
        ) from error


def _trained(record: RunRecord, name: str, work: Path) -> Artifact:
    """The checkpoint that the run made, reused or imported.

    Raises:
        InputError: it is gone or damaged.
    """
    entry = next((stage for stage in record.stages if stage.name == name), None)
    artifact = Artifact(work.resolve() / entry.artifact) if entry else None
    if artifact is None or not artifact.complete:
        raise InputError(
            f"the checkpoint of stage '{name}' of run {record.run_id} is not in {work} any more: run it again"
        )
    if problem := artifact.problem():
        raise InputError(f"{problem}: run {record.run_id} again")
    return artifact


def _open_test(options: SubmitOptions, say: Say) -> Dataset:
    """The dataset, with its list and images of `test` checked.

    Raises:
        InputError: something is missing, or the list is not the official one and this is no trial.
    """
    dataset = open_dataset("voc", options.data_root)
    if not is_official(dataset.ids(SPLIT)):
        problem = f"the list of '{SPLIT}' in {dataset.root} is not the official one of {IMAGES} images"
        if not options.trial:
            raise InputError(f"{problem}: get VOC 2012's own, or make a package for a trial with --trial")
        say(f"note: {problem}")
    dataset.check([SPLIT], progress=ticker(say, f"checking {SPLIT}"))
    return dataset


def _prepared(
    record: RunRecord,
    options: SubmitOptions,
    chain: Chain,
    trained: Mapping[str, Artifact],
    dataset: Dataset,
    executor: Executor,
    say: Say,
) -> Prepared:
    hardware, source = describe(), stage_source_hash()
    gpus = usable_gpus(options.gpus, len(hardware.gpus))
    environment, fingerprint = executor.environment(record.method), dataset.fingerprint([SPLIT])
    if source != record.code.source_hash:
        say(f"note: the code has changed since run {record.run_id}; the present code predicts")
    ingredients = Ingredients(
        dataset={"name": dataset.name, "fingerprint": fingerprint},
        weights={},
        code=source,
        environment=f"{environment.identity} {'gpu' if gpus else 'cpu'}",
        seed=record.seed,
    )
    return Prepared(
        options=_run_options(record, options),
        config=chain.config,
        dataset=dataset,
        ids={SPLIT: dataset.ids(SPLIT)},
        fingerprint=fingerprint,
        weights={},
        auxiliary={},
        executor=executor,
        environment=environment,
        source=source,
        hardware=hardware,
        gpus=gpus,
        plan=make_plan(chain.config, ingredients, options.work.resolve() / "artifacts", trained),
        notices=tuple(dataset.notices),
        processes=sharing_processes(None, gpus),
    )


def _run_options(record: RunRecord, options: SubmitOptions) -> RunOptions:
    return RunOptions(
        method=record.method,
        dataset=record.dataset.name,
        variant=record.variant,
        data_root=options.data_root,
        work=options.work,
        executor=options.executor,
        gpus=options.gpus,
        seed=record.seed,
        limit=record.limit,
        smoke=record.smoke,
        overrides=[parse_override(text) for text in record.overrides],
        timeout=options.timeout,
    )
