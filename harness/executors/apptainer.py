"""Stages in Apptainer containers, for machines without a Docker engine, as the nodes of clusters are."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness import images
from harness.errors import InputError
from harness.executors import STAGE_MODULE, Environment, Job
from harness.executors.docker import DESCRIBE, SCRATCH
from harness.executors.local import LocalExecutor, LocalProcess, spawn
from harness.image_recipes import environment_hash
from harness.weights import cache_folder


class ApptainerExecutor(LocalExecutor):
    """Executes each stage in a container of the method's image, converted from that of Docker.

    As in Docker, nothing is writable but the artifact folder and a temporary `/tmp`, inputs are read-only,
    and the user's home and environment are not there. Unlike there, the network is that of the machine, and
    limits of memory and processes are the cluster's.
    """

    name = "apptainer"

    def environment(self, method: str) -> Environment:
        """The method's image and what it has installed; a stage's key does not tell it from Docker's.

        Raises:
            InputError: there is no Apptainer, or no image, or it does not run.
        """
        image = image_file(method)
        command = [*self._apptainer(image, [], gpus=False), "python", "-c", DESCRIBE]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise InputError(f"image {image} does not run ({last}): convert it again")
        return dataclasses.replace(
            Environment(**json.loads(done.stdout)),
            executor=self.name,
            identity=f"docker-{environment_hash(method)}",
            image=str(image),
            image_id=None,
            image_digest=None,
        )

    def start(self, job: Job) -> LocalProcess:
        """Start the stage's container; it is killed when this process ends."""
        binds = [f"{job.folder}:{job.folder}:rw"]
        binds += [f"{path}:{path}:ro" for path in dict.fromkeys(job.read_only) if path != job.folder]
        command = self._apptainer(image_file(job.method), binds, gpus=bool(job.gpus))
        variables = {**SCRATCH, **job.env, "CUDA_VISIBLE_DEVICES": ",".join(job.gpus)}
        guard = ("python", "-m", "harness.executors.guard", "0", STAGE_MODULE)
        # As variables of Apptainer's own, since --env splits its argument at commas.
        env = {**os.environ, **{f"APPTAINERENV_{name}": value for name, value in variables.items()}}
        return spawn([*command, *guard, str(job.folder / "stage.json")], job, env)

    @staticmethod
    def _apptainer(image: Path, binds: Sequence[str], *, gpus: bool) -> list[str]:
        """The command line up to the image.

        Raises:
            InputError: there is no Apptainer.
        """
        program = shutil.which("apptainer")
        if program is None:
            raise InputError("apptainer is not installed here: install it, or take another executor")
        command = [program, "--quiet", "exec", "--containall", "--cleanenv", "--no-mount", "cwd"]
        for bind in binds:
            command += ["--bind", bind]
        return [*command, *(["--nv"] if gpus else []), str(image)]


def image_file(method: str) -> Path:
    """The converted image of a method, whose name has the hash of all that it is made of.

    Raises:
        InputError: it is not there.
    """
    tag = images.method_tag(method)
    path = cache_folder().parent / "apptainer" / f"{tag.replace('/', '_').replace(':', '_')}.sif"
    if not path.is_file():
        raise InputError(
            f"there is no {path}: where Docker is, `harness image build {method}` and `docker save {tag} "
            f"-o image.tar`, then `apptainer build {path} docker-archive:image.tar`"
        )
    return path
