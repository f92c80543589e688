"""Download of one large file: resumed where it broke off, checked, and done once for all processes."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import requests
from requests.exceptions import ProxyError, RequestException, SSLError
from urllib3.exceptions import MaxRetryError
from urllib3.util.retry import Retry

from harness.errors import InputError
from harness.files import file_digest, write_json
from harness.locks import locked

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, earlier attempts included, and the total (None if not told)."""

_log = logging.getLogger(__name__)
_CHUNK = 1 << 16  # bytes; what an interruption loses at most
_TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds of silence
_RETRY = Retry(3, backoff_factor=0.5, retry_after_max=60)  # pauses of 0, 1, 2 seconds, or as the server asks
_TRANSIENT = {408, 429, 500, 502, 503, 504}  # HTTP statuses
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Args:
        name: what a user calls it ("weights 'resnet50'").
        url: http or https address.
        checksum: lower-case hex digits of the content's checksum, all or the leading ones; empty if none is
            known, in which case all bytes that the server announces must arrive.
        remedy: what a user can do when it cannot be had, as the end of a sentence.
        algorithm: of the checksum.
    """

    name: str
    url: str
    checksum: str
    remedy: str
    algorithm: Literal["sha256", "md5"] = "sha256"

    def digest(self, path: Path) -> str:
        """The file's checksum; empty if there is none to compare it with."""
        return file_digest(path, self.algorithm) if self.checksum else ""

    def tell_waiting(self) -> None:
        """Say that another process does the work."""
        _log.warning("another process is downloading %s: waiting for it", self.name)

    def failure(self, reason: str) -> InputError:
        """The error that says why this file cannot be had and what to do."""
        host = urlsplit(self.url).hostname or self.url
        return InputError(f"cannot download {self.name} from {host}: {reason}; {self.remedy}")


def download(
    remote: RemoteFile, target: Path, progress: Progress | None = None, *, retry: Retry = _RETRY
) -> str:
    """Bring a file to `target`, which appears whole and checked or not at all.

    A file that is there with the right checksum is kept. What arrived before an interruption lies beside the
    target and is not asked for again if the server can resume. Of several processes one downloads, the
    others wait for it.

    Args:
        remote: what to bring.
        target: where to; its folder is created.
        progress: told about every piece that arrives.
        retry: attempts after the first and pauses between them; counted anew whenever bytes have arrived.

    Returns:
        Checksum of the file as hex, by the algorithm of `remote`; empty if none is known.

    Raises:
        InputError: no connection, refused by the server, wrong checksum, disk full, folder not writable.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{target.name}.lock"), remote.tell_waiting):
            if target.exists():
                digest = remote.digest(target)
                if digest.startswith(remote.checksum):
                    return digest
                _log.warning("%s does not have the checksum of %s: downloading again", target, remote.name)
            return _Transfer(remote, target, progress, retry).run()
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InputError(
                f"cannot download {remote.name}: the disk that holds {target.parent} is full; free some "
                "space and run it again, it will continue where it stopped"
            ) from error
        raise InputError(
            f"cannot download {remote.name} into {target.parent}: {error.strerror}; {remote.remedy}"
        ) from error


class _Interrupted(Exception):
    """The attempt failed in a way that another attempt may cure."""

    def __init__(self, reason: str, response: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.response = response


class _Transfer:
    """One file on its way: `<name>.part` holds what has arrived, `<name>.part.json` which version of it."""

    def __init__(self, remote: RemoteFile, target: Path, progress: Progress | None, retry: Retry) -> None:
        self._remote = remote
        self._target = target
        self._progress = progress or (lambda done, total: None)
        self._retry = retry
        self._part = target.with_name(f"{target.name}.part")
        self._version = target.with_name(f"{target.name}.part.json")

    def run(self) -> str:
        """Transfer with as many attempts as allowed, check, and move into place; returns the checksum."""
        retry = self._retry
        with requests.Session() as session:
            while True:
                before = self._arrived()
                try:
                    self._attempt(session)
                    break
                except _Interrupted as interruption:
                    if self._arrived() > before:
                        retry = self._retry
                    try:
                        retry = retry.increment("GET", self._remote.url, error=interruption)
                    except MaxRetryError:
                        raise self._remote.failure(str(interruption)) from interruption
                    _log.info("%s: %s; trying again", self._remote.name, interruption)
                    retry.sleep(None if interruption.response is None else interruption.response.raw)
        return self._check_and_publish()

    def _attempt(self, session: requests.Session) -> None:
        """Ask for what is still missing and append it."""
        start, validator = self._resumption_point()
        # Compressed transfer would make byte positions meaningless.
        headers = {"Accept-Encoding": "identity"}
        if start:
            # If-Range: send the rest if the file is still the same one, else all of it.
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        try:
            with session.get(self._remote.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
                if self._has_content(response, start):
                    self._receive(response, start if response.status_code == 206 else 0)
        except SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise _Interrupted("the encrypted connection breaks off") from error
            raise self._remote.failure(
                "its certificate is not trusted here (REQUESTS_CA_BUNDLE names a file with further CAs)"
            ) from error
        except ProxyError as error:
            raise _Interrupted("the proxy does not connect to it") from error
        except requests.ConnectTimeout as error:
            raise _Interrupted("the host cannot be reached") from error
        except requests.Timeout as error:
            raise _Interrupted("the host has stopped answering") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise _Interrupted("the connection breaks off") from error
        except requests.ConnectionError as error:
            raise _Interrupted("the host cannot be reached") from error
        except RequestException as error:
            raise self._remote.failure(str(error)) from error

    def _has_content(self, response: requests.Response, start: int) -> bool:
        """Judge the status: True to read on, False if all bytes are there already."""
        status = response.status_code
        content_range = response.headers.get("Content-Range", "")
        if status == 200:
            return True
        if status == 206 and content_range.startswith(f"bytes {start}-"):
            return True
        if status == 416 and content_range == f"bytes */{start}":
            return False
        if status in (206, 416):
            self._discard()
            raise _Interrupted("the server does not continue the file where it broke off")
        answer = f"the server answers {status} {response.reason}"
        if status in _TRANSIENT:
            raise _Interrupted(answer, response)
        raise self._remote.failure(answer)

    def _receive(self, response: requests.Response, start: int) -> None:
        total = _total_bytes(response, start)
        if not start:
            self._part.unlink(missing_ok=True)  # before its version changes, lest the two be mixed
            write_json(self._version, {"url": self._remote.url, "validator": _strong_validator(response)})
        done = start
        with self._part.open("ab") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                self._progress(done, total)
            file.flush()
            os.fsync(file.fileno())

    def _resumption_point(self) -> tuple[int, str]:
        """Bytes that have arrived and the validator of their version; (0, "") to start over."""
        try:
            version = json.loads(self._version.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0, ""
        if version.get("url") != self._remote.url or not version.get("validator"):
            return 0, ""
        return self._arrived(), version["validator"]

    def _arrived(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _check_and_publish(self) -> str:
        digest = self._remote.digest(self._part)
        expected = self._remote.checksum
        if not digest.startswith(expected):
            self._discard()
            algorithm = {"sha256": "SHA-256", "md5": "MD5"}[self._remote.algorithm]
            raise self._remote.failure(
                f"what arrived has the {algorithm} {digest[: len(expected)]} where {expected} is expected, "
                "and was removed"
            )
        self._part.replace(self._target)
        self._version.unlink(missing_ok=True)
        return digest

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)


def _strong_validator(response: requests.Response) -> str:
    """What `If-Range` may carry: a strong ETag, else the date of modification, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _total_bytes(response: requests.Response, start: int) -> int | None:
    """Size of the whole file as far as the server tells."""
    if match := re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", "")):
        return int(match[1])
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None
