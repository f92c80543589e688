"""`train_cfg.compile`: the same training by compiled code, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import InputError
from harness.stages import train_hooks
from tests.tiny_stages import TRAIN, run, same, weights_of


def training(part: str) -> dict[str, Any]:
    """Four iterations of the tiny network with fixed statistics and without dropout."""
    return {
        **TRAIN,
        "model": {"type": "TinyNet", "plain": True},
        "train_cfg": {"max_iters": 4, "checkpoint_interval": 2, "compile": part},
    }


def test_a_compiled_training_is_the_plain_one_and_resumes_to_the_bit(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, part in (("plain", ""), ("compiled", "features")):
        run(tmp_path / name, shapes_root, training(part))
    plain, compiled = weights_of(tmp_path / "plain"), weights_of(tmp_path / "compiled")
    assert list(compiled) == list(plain)
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-4, atol=1e-6)

    with monkeypatch.context() as patch:
        save = train_hooks.ResumePoints.after_train_iter

        def then_die(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
            save(self, runner, *arguments, **named)
            if runner.iter + 1 == 2:
                raise KeyboardInterrupt

        patch.setattr(train_hooks.ResumePoints, "after_train_iter", then_die)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", shapes_root, training("features"))
    assert run(tmp_path / "killed", shapes_root, training("features")).resumed_at == 2
    assert same(weights_of(tmp_path / "killed"), compiled)


def test_the_part_that_is_compiled_runs_compiled_code(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: seen.append(self))
    run(tmp_path / "plain", shapes_root, training(""))
    assert not seen
    run(tmp_path / "compiled", shapes_root, training("features"))
    assert [type(part) for part in seen] == [torch.nn.Sequential]


def test_what_compiling_needs_is_one_sentence(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"no part 'feature' \(did you mean 'features'\?\)"):
        run(tmp_path / "part", shapes_root, training("feature"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        InputError, match=r"needs the C\+\+ compiler 'no-such-compiler', which is not in PATH"
    ):
        run(tmp_path / "compiler", shapes_root, training("features"))
