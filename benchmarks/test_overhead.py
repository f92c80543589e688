"""What a run costs beside its stages: plan, process or container, measuring, manifest and record.

The stage evaluates one image from logits, so its process imports torch and has next to nothing to do.
Targets: under 1.5 s in a process, under 2.5 s in a container.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from harness.data.shapes import generate_shapes
from harness.errors import InputError
from harness.images import ImageState, verify
from harness.prepare import RunOptions, prepare
from harness.run import Run
from harness.stages.per_image import save_scores


def _skip_without(executor: str) -> None:
    if executor != "docker":
        return
    try:
        state = verify("vwe")
    except InputError as error:
        pytest.skip(f"no container to measure in: {error}")
    if state is not ImageState.CURRENT:
        pytest.skip(f"the image of vwe is {state.value}: harness image build vwe")


@pytest.mark.parametrize("executor", ["local", "docker"])
@pytest.mark.benchmark(group="overhead of a stage that imports torch")
def test_run_of_an_empty_stage(benchmark, executor: str, tmp_path: Path) -> None:
    _skip_without(executor)
    root = tmp_path / "shapes"
    generate_shapes(root, train=2, train_aug=2, val=1, workers=1)
    options = RunOptions(
        method="vwe",
        dataset="shapes",
        data_root=root,
        work=tmp_path / "work",
        executor=executor,
        limit=1,
        only="seg_eval",
        force=True,
    )
    prepared = prepare(options, lambda text: None)
    image_id = prepared.ids["val"][0]
    height, width = prepared.dataset.image_size(image_id)
    scores = prepared.plan["seg_scores"]
    artifact = scores.artifact.open()
    logits = np.zeros((11, height // 8, width // 8), dtype=np.float32)
    size = np.array([height, width], dtype=np.int64)
    save_scores(artifact.files / f"{image_id}.npz", {"logits": logits, "size": size})
    artifact.finish("scores", "seg_scores", scores.key, {"scores": "logits"})

    def plan_and_run() -> float:
        record = Run(prepare(options, lambda text: None), Console(quiet=True)).execute()
        return record.metrics[0].value

    value = benchmark.pedantic(plan_and_run, rounds=5, warmup_rounds=1)
    assert 0 < value < 1  # all background: its IoU over the classes that occur
