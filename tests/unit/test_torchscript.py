"""Archives of TorchScript are read without running what is in them."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.errors import InputError
from harness.torchscript import is_torchscript, read_torchscript
from harness.weights import load_state
from methods.semples.clip import CLIPTowers
from methods.semples.convert import convert_openai, tower_sizes

TINY = {
    "embed_dim": 8,
    "image_size": 32,
    "vision_layers": 1,
    "vision_width": 64,
    "patch_size": 16,
    "context_length": 8,
    "text_width": 64,
    "text_heads": 1,
    "text_layers": 1,
}


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).half().T)  # a view with strides
        self.register_buffer("count", torch.tensor(7))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.float()


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Inner(), nn.Linear(2, 2)])
        self.scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x * self.scale


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "network.pt"
    torch.jit.save(torch.jit.script(Outer()), str(path))
    return path


def test_names_and_values_are_those_of_the_state(archive: Path) -> None:
    network = torch.jit.load(str(archive))  # the test's own file
    found = read_torchscript(archive)
    expected = network.state_dict()
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_load_state_tells_archives_from_checkpoints(archive: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.pth"
    torch.save({"weight": torch.ones(2)}, plain)
    assert is_torchscript(archive)
    assert not is_torchscript(plain)
    assert set(load_state(archive)) == set(read_torchscript(archive))
    assert set(load_state(plain)) == {"weight"}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_clip_of_the_released_form_is_read_and_converted(tmp_path: Path) -> None:
    class Released(CLIPTowers):
        def __init__(self) -> None:
            super().__init__(**TINY)
            for name, value in (("input_resolution", 32), ("context_length_", 8), ("vocab_size_", 49408)):
                self.register_buffer(name, torch.tensor(value))

        def forward(self, image: Tensor) -> Tensor:
            return self.image_features(image)

    torch.manual_seed(0)
    traced = torch.jit.trace(Released().eval(), torch.zeros(1, 3, 32, 32), check_trace=False)
    path = tmp_path / "clip.pt"
    torch.jit.save(traced, str(path))
    state = load_state(path)
    state = {name.removesuffix("_"): tensor for name, tensor in state.items()}
    conversion = convert_openai(state)
    assert set(conversion.dropped) == {"input_resolution", "context_length", "vocab_size"}
    assert not conversion.missing
    found = {name: value for name, value in tower_sizes(conversion.state).items() if name != "context_length"}
    assert found == {name: value for name, value in TINY.items() if name != "context_length"}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('run')",))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"weight": Evil()}),
        pickle.dumps(Evil()),
        b"\x80\x02r\xff\xff\xff\x7f.",
    ],
    ids=["reduce inside", "reduce", "absurd memo"],
)
def test_nothing_in_a_hostile_archive_is_called(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", content)
        archive.writestr("evil/constants.pkl", b"")
    with contextlib.suppress(InputError):  # or nothing is found
        assert load_state(path) == {}


def test_a_tensor_beyond_its_storage_is_refused(archive: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(cut, "w") as short:
        for name in whole.namelist():
            content = whole.read(name)
            short.writestr(name, content[: len(content) // 2 // 4 * 4] if "/data/" in name else content)
    with pytest.raises(InputError, match="fetch it again"):
        read_torchscript(cut)
