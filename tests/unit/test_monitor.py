"""What a stage is said to have used."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest
from pydantic import ValidationError

from harness import monitor as monitor_module
from harness.monitor import Measurements, Monitor, Throughput
from harness.nvml import GpuSampler, visible_devices
from harness.process_tree import container_memory_peak, owns_container, tree_bytes_written
from tests.unit.fake_nvml import FakeGpu, FakeNvml

MIB = 1 << 20
GPU_FIELDS = [name for name in Measurements.model_fields if name.startswith(("gpu_", "torch_"))]


def sampler(*gpus: FakeGpu) -> GpuSampler:
    return GpuSampler(FakeNvml(*gpus), gpus, now=100.0)


def test_gpu_memory_is_the_fullest_device_at_its_worst_sample() -> None:
    small, large = FakeGpu(memory=1), FakeGpu(memory=5)
    watched = sampler(small, large)
    small.memory, large.memory = 4, 9
    watched.sample(101.0)
    small.memory, large.memory = 6, 2
    watched.sample(102.0)
    assert watched.result().gpu_memory_peak_bytes == 9


def test_utilisation_is_the_mean_over_time_not_over_samples() -> None:
    gpu = FakeGpu(utilisation=77)  # what went before the start does not count
    watched = sampler(gpu)
    gpu.utilisation = 100
    watched.sample(101.0)
    gpu.utilisation = 20
    watched.sample(104.0)
    assert watched.result().gpu_utilisation_percent == pytest.approx((100 * 1 + 20 * 3) / 4)


def test_energy_is_the_difference_of_the_counters_summed_over_devices() -> None:
    first, second = FakeGpu(joules=1000.0), FakeGpu(joules=5000.0)
    watched = sampler(first, second)
    first.joules, second.joules = 1250.5, 5100.0
    result = watched.result()
    assert result.gpu_energy_joules == pytest.approx(350.5)
    assert result.gpu_energy_source == "counter"


def test_energy_without_a_counter_is_the_integral_of_the_power() -> None:
    gpu = FakeGpu(joules=None, watts=100.0)
    watched = sampler(gpu)
    gpu.watts = 300.0
    watched.sample(102.0)  # 2 s at 200 W on average
    gpu.watts = 100.0
    watched.sample(103.0)  # 1 s at 200 W on average
    result = watched.result()
    assert result.gpu_energy_joules == pytest.approx(600.0)
    assert result.gpu_energy_source == "power"


def test_power_is_not_integrated_over_a_gap() -> None:
    gpu = FakeGpu(joules=None, watts=100.0)
    watched = sampler(gpu)
    for watts, now in ((None, 101.0), (100.0, 111.0), (100.0, 112.0)):
        gpu.watts = watts
        watched.sample(now)
    assert watched.result().gpu_energy_joules == pytest.approx(100.0)


def test_energy_is_unknown_if_one_device_does_not_tell() -> None:
    result = sampler(FakeGpu(joules=10.0), FakeGpu(joules=None, watts=None)).result()
    assert (result.gpu_energy_joules, result.gpu_energy_source) == (None, None)


def test_energy_counter_that_went_back_is_not_believed() -> None:
    gpu = FakeGpu(joules=500.0, watts=None)
    watched = sampler(gpu)
    gpu.joules = 3.0  # the driver was reloaded
    assert watched.result().gpu_energy_joules is None


def test_unsupported_counters_are_none_and_the_others_remain() -> None:
    gpu = FakeGpu(memory=7, utilisation=None, watts=None, joules=None)  # a MIG slice
    watched = sampler(gpu)
    watched.sample(101.0)
    assert watched.result().model_dump() == {
        "gpus": 1,
        "gpu_memory_peak_bytes": 7,
        "gpu_utilisation_percent": None,
        "gpu_energy_joules": None,
        "gpu_energy_source": None,
    }


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        ("GPU-b", [1]),
        ("", []),
        ("-1", []),
        ("0,9,1", [0]),
        ("1, GPU-c", [1, 2]),
    ],
)
def test_only_gpus_that_cuda_shows_are_watched(listed: str | None, expected: list[int]) -> None:
    gpus = [FakeGpu(uuid=f"GPU-{letter}123") for letter in "abc"]
    environ = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert visible_devices(FakeNvml(*gpus), environ) == [gpus[i] for i in expected]


def test_monitor_reads_the_gpu_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = FakeGpu(memory=MIB, joules=10.0)
    with Monitor(nvml=FakeNvml(gpu)) as monitor:
        gpu.memory, gpu.joules = 9 * MIB, 25.0
    assert monitor.result.gpu_memory_peak_bytes == 9 * MIB
    assert monitor.result.gpu_energy_joules == pytest.approx(15.0)


def test_without_a_gpu_every_gpu_field_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Monitor(nvml=FakeNvml(FakeGpu(memory=5))) as monitor:
        pass
    values = monitor.result.model_dump()
    assert {name: values[name] for name in GPU_FIELDS} == dict.fromkeys(GPU_FIELDS)


def test_without_a_driver_every_gpu_field_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise FakeNvml.NVMLError("library not found")

    fake = SimpleNamespace(nvmlInit=no_driver, NVMLError=FakeNvml.NVMLError)
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    with Monitor() as monitor:
        pass
    assert all(monitor.result.model_dump()[name] is None for name in GPU_FIELDS)


def fake_torch(initialised: bool, resets: list[int]) -> ModuleType:
    cuda = SimpleNamespace(
        is_initialized=lambda: initialised,
        device_count=lambda: 2,
        reset_peak_memory_stats=resets.append,
        max_memory_allocated=lambda device: [10, 30][device],
        max_memory_reserved=lambda device: [50, 40][device],
    )
    return SimpleNamespace(cuda=cuda)  # type: ignore[return-value]


@pytest.mark.parametrize("initialised", [True, False])
def test_torch_peaks_are_read_only_where_cuda_runs(
    monkeypatch: pytest.MonkeyPatch, initialised: bool
) -> None:
    resets: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", fake_torch(initialised, resets))
    with Monitor(nvml=FakeNvml()) as monitor:
        pass
    peaks = (monitor.result.torch_allocated_peak_bytes, monitor.result.torch_reserved_peak_bytes)
    assert peaks == ((30, 50) if initialised else (None, None))
    assert resets == ([0, 1] if initialised else [])


def test_monitor_imports_no_torch() -> None:
    program = "import sys, harness.monitor as m\nwith m.Monitor(): pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def grown(program: str) -> tuple[str, int]:
    """Of what kind the peak of a small process is, and by how many bytes it has grown after a program.

    This process would not do: PSS counts a share of pages that others map too, and so changes by the size of
    torch's libraries when others come and go.

    Args:
        program: lines for `python -c`; may call `tree.sample()`.
    """
    begin = "import os, psutil, subprocess, sys\nfrom harness.process_tree import TreeMemory\n"
    begin += "tree = TreeMemory(psutil.Process())\ntree.sample()\nbefore = tree.peak\n"
    end = "\nprint(tree.kind, tree.peak - before)"
    script = begin + textwrap.dedent(program) + end
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    kind, size = done.stdout.split()
    return kind, int(size)


def test_memory_of_children_counts() -> None:
    # 64 MiB that are written to, so that they are resident; the child says when and waits for our end.
    program = """
        child = "x = bytearray(b'x') * (64 << 20); print(flush=True); input()"
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with subprocess.Popen([sys.executable, "-c", child], **pipes) as process:
            process.stdout.readline()
            tree.sample()
            process.communicate("\\n")
    """
    assert 60 * MIB < grown(program)[1] < 100 * MIB


def test_shared_pages_of_forked_children_count_once() -> None:
    program = """
        shared = bytearray(b"x") * (64 << 20)
        tree.sample()
        before = tree.peak
        done = os.pipe()
        if os.fork() == 0:
            os.close(done[1])
            os.read(done[0], 1)
            os._exit(0)
        tree.sample()
        os.close(done[1])
        os.wait()
    """
    kind, size = grown(program)
    if kind != "pss":
        pytest.skip("PSS cannot be read here")
    assert size < 32 * MIB


def test_rss_stands_in_where_pss_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_full_info", forbidden)
    with Monitor(nvml=FakeNvml()) as monitor:
        pass
    assert monitor.result.host_memory_kind == "rss"
    assert monitor.result.host_memory_peak_bytes > MIB


def test_children_that_die_between_samples_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    dead = psutil.Process(child.pid)
    child.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [dead])
    with Monitor(nvml=FakeNvml()) as monitor:
        pass
    assert monitor.result.host_memory_peak_bytes > MIB
    assert monitor.result.bytes_written is not None


def test_writes_of_children_that_ended_count(tmp_path: Path) -> None:
    if tree_bytes_written(psutil.Process()) is None:
        pytest.skip("the system does not count a process's writes")
    if _on_tmpfs(tmp_path):
        pytest.skip("writes to tmpfs do not count")
    program = "import sys; open(sys.argv[1], 'wb').write(b'x' * (5 << 20))"
    with Monitor(nvml=FakeNvml()) as monitor:
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], check=True)
    assert monitor.result.bytes_written_source == "process"
    assert 5 * MIB <= (monitor.result.bytes_written or 0) < 6 * MIB


def _on_tmpfs(path: Path) -> bool:
    mounts = sorted(psutil.disk_partitions(all=True), key=lambda mount: len(mount.mountpoint))
    return [m.fstype for m in mounts if path.is_relative_to(m.mountpoint)][-1] == "tmpfs"


def test_growth_of_the_folder_stands_in_for_uncounted_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_module, "tree_bytes_written", lambda _: None)
    (tmp_path / "before").write_bytes(bytes(100))
    with Monitor(tmp_path, nvml=FakeNvml()) as monitor:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "file").write_bytes(bytes(1234))
    assert (monitor.result.bytes_written, monitor.result.bytes_written_source) == (1234, "folder")


@pytest.mark.parametrize("file", ["memory.peak", "memory/memory.max_usage_in_bytes"])
def test_container_peak_is_the_kernels(tmp_path: Path, file: str) -> None:
    assert container_memory_peak(tmp_path) is None
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text("123456\n")
    assert container_memory_peak(tmp_path) == 123456


@pytest.mark.parametrize(
    ("pid", "parent", "own"),
    [
        (1, None, True),
        (7, (1, "docker-init"), True),
        (7, (1, "bash"), False),
        (7, (3, "docker-init"), False),
    ],
)
def test_container_is_its_own_only_if_started_for_the_stage(
    pid: int, parent: tuple[int, str] | None, own: bool
) -> None:
    above = SimpleNamespace(pid=parent[0], name=lambda: parent[1]) if parent else None
    assert owns_container(SimpleNamespace(pid=pid, parent=lambda: above)) is own  # type: ignore[arg-type]


def test_result_is_there_after_an_exception_and_the_thread_is_gone() -> None:
    monitor = Monitor(nvml=FakeNvml())
    with pytest.raises(RuntimeError, match="stage"), monitor:
        raise RuntimeError("stage")
    assert monitor.result.wall_seconds > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "monitor"]


def test_expensive_samples_are_taken_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(monitor_module, "time", clock)
    monitor = Monitor(interval=0.5, nvml=FakeNvml())
    monitor._start, monitor._cpu_seconds = 0.0, 0.1
    assert monitor._pause() == pytest.approx(20.0)
    clock.now = 15.0
    assert monitor._pause() == pytest.approx(5.0)
    monitor._cpu_seconds = 0.0
    assert monitor._pause() == 0.5


def test_measurements_survive_json() -> None:
    with Monitor(nvml=FakeNvml(FakeGpu())) as monitor:
        pass
    assert Measurements.model_validate_json(monitor.result.model_dump_json()) == monitor.result
    with pytest.raises(ValidationError):
        Measurements.model_validate({})


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def rate(monkeypatch: pytest.MonkeyPatch, seconds: list[float], images: int = 8) -> float | None:
    clock = Clock()
    monkeypatch.setattr(monitor_module, "time", clock)
    meter = Throughput()
    for duration in seconds:
        clock.now += duration
        meter.add(images)
    return meter.images_per_second


def test_throughput_leaves_out_the_slow_first_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rate(monkeypatch, [30.0, 5.0, *[0.5] * 10]) == pytest.approx(16.0)
    assert rate(monkeypatch, [9.0] * 5 + [0.25] * 45) == pytest.approx(32.0)  # a tenth of 50
    late = [9.0] * 50 + [0.25] * 475 + [0.75] * 475
    assert rate(monkeypatch, late) == pytest.approx(16.0)  # 50 of 1,000, not a tenth


def test_throughput_of_too_few_iterations_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [rate(monkeypatch, [1.0] * count) for count in range(5)] == [None, None, None, None, 8.0]
