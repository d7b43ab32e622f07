"""Fetching a model that the user asked for: resumed where it was cut off, believed only with the right hash.

Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``); ``BRAINSEG_MIRROR`` names a server that holds the same files
under the same paths. Nothing is fetched that was not asked for, and nothing follows from an encrypted address to a plain one.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from brainseg_engine.core import records
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.paths import check_writable, home
from brainseg_engine.models.catalogue import KnownModel
from brainseg_engine.models.lineage import sha256

MIRROR = "BRAINSEG_MIRROR"
TIMEOUT_S = 30
MOST_BYTES = 8 << 30
_BLOCK = 1 << 18


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not from https to anything else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """As there."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it leads on to the unencrypted {newurl[:80]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def address(entry: KnownModel, mirror: str | None = None) -> str:
    """Where the model is fetched from: its address, or the same path at the ``mirror`` (else at ``BRAINSEG_MIRROR``).

    Raises InputError for a mirror that is no address.
    """
    base = mirror or os.environ.get(MIRROR, "")
    if not base:
        return entry.url
    if not base.startswith(("https://", "http://")):
        raise InputError(
            f"The mirror '{base}' is no address: it begins with https:// (or http:// within your own network)."
        )
    return base.rstrip("/") + urllib.parse.urlsplit(entry.url).path


def fetched(
    entry: KnownModel, mirror: str | None = None, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> Path:
    """The model's file, complete and with the right hash where one is known; kept until :func:`discard`.

    Raises InputError without a network, for a server that refuses, and for a file of another size or hash (which is removed);
    Cancelled, after which the next call goes on where this one stopped.
    """
    folder = home() / "downloads"
    check_writable(folder)
    done, part, notes = (folder / f"{entry.name}{ending}" for ending in (".zip", ".part", ".json"))
    if not done.is_file():
        _fetch(address(entry, mirror), part, notes, entry, progress, cancelled)
        part.replace(done)
        notes.unlink(missing_ok=True)
    try:
        verify(done, entry)
    except InputError:
        done.unlink(missing_ok=True)
        raise
    return done


def verify(file: Path, entry: KnownModel) -> str:
    """The file's hash. Raises InputError where it is not what the list says."""
    if not file.is_file():
        raise InputError(f"There is no file {file}.")
    size = file.stat().st_size
    if entry.size and size != entry.size:
        raise InputError(
            f"{file.name} has {size} bytes, and '{entry.name}' has {entry.size}: it was cut off or is another file. It was not "
            "installed; fetch it again."
        )
    found = sha256(file)
    if entry.sha256 and found != entry.sha256:
        raise InputError(
            f"{file.name} is not '{entry.name}': its hash begins with {found[:12]}, and {entry.sha256[:12]} is expected "
            f"({entry.hash_from or 'as its makers say'}). It was not installed: it is damaged, or somebody replaced it."
        )
    return found


def discard(entry: KnownModel) -> None:
    """Remove what was fetched of it."""
    for ending in (".zip", ".part", ".json"):
        (home() / "downloads" / f"{entry.name}{ending}").unlink(missing_ok=True)


def _fetch(
    url: str, part: Path, notes: Path, entry: KnownModel, progress: ProgressCallback, cancelled: CancelCheck
) -> None:
    began = part.stat().st_size if part.is_file() else 0
    tag = _tag(notes, url)
    headers = {"Range": f"bytes={began}-", "If-Range": tag} if began and tag else {}
    opener = urllib.request.build_opener(_Straight())
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            began = began if answer.status == 206 else 0
            whole = began + int(answer.headers.get("Content-Length") or 0)
            most = entry.size or MOST_BYTES
            records.write_json(notes, {"url": url, "tag": answer.headers.get("ETag") or ""})
            with part.open("ab" if began else "wb") as out:
                while block := answer.read(_BLOCK):
                    if cancelled():
                        raise Cancelled("Stopped; the same call goes on where this one ended.")
                    began += len(block)
                    if began > most:
                        raise InputError(
                            f"{url} sends more than the {most} bytes that '{entry.name}' has. It was not installed."
                        )
                    out.write(block)
                    progress(Progress("fetching", min(1.0, began / whole) if whole else 0.0))
            if whole and began < whole:
                raise InputError(f"{url} ended after {began} of {whole} bytes. The same call goes on there.")
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 416:  # nothing is left to send
                return
            raise InputError(
                f"{url} answers {e.code} {e.reason}. See whether the address is still right, or name a mirror."
            ) from e
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as e:
        raise InputError(
            f"{url} cannot be reached ({getattr(e, 'reason', None) or e}). Check the network and HTTPS_PROXY, name a "
            "mirror, or bring the file by hand: --from-file FILE. What arrived is kept."
        ) from e


def _tag(notes: Path, url: str) -> str:
    """What the server called the version that was begun; "" where it is not known."""
    try:
        found: Mapping[str, Any] = records.read_object(notes)
    except (OSError, ValueError):
        return ""
    return str(found.get("tag", "")) if found.get("url") == url else ""
