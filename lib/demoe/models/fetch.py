"""Fetching weights: from their address, a mirror or a path; continued where it stopped, and checked."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

from demoe.core import __version__
from demoe.core.downloads import no_answer, unreachable
from demoe.core.files import alone

from .pretrained import Item, sha256

TIMEOUT = 20.0  # seconds without a byte
TRIES = 3  # in a row that bring nothing
LARGEST = 4 << 30  # bytes: more than any of these files; a stream without end stops there
CHUNK = 1 << 20


class CannotFetch(RuntimeError):
    """Weights that were not fetched. The message is a sentence that says what to do."""


def fetch(item: Item, source: str | None = None, folder: Path | None = None, progress: bool = False) -> Path:
    """The path of the file, fetched if it is not in ``folder`` (default ``item.home()``) yet.

    ``source``: an address (http or https; one that ends in "/" is a folder), or the path of a file or a folder that
    holds it; None takes the item's own. An address is continued where an earlier call stopped, in the file's
    neighbour ``NAME.part``, unless neither the server nor a SHA-256 could tell that it is still the same file; one
    given as ``source`` is asked even with HF_HUB_OFFLINE. The SHA-256 is compared with as much of it as is published,
    and a network must be readable as one; else nothing is kept, and ``CannotFetch`` says why, as it does within seconds
    where there is no network.
    """
    folder = Path(folder) if folder else item.home()
    target = folder / item.file
    wanted = source or item.url
    url = wanted + item.file if wanted.endswith("/") else wanted
    online = url.startswith(("http://", "https://"))
    if not target.is_file():  # what is refused at once leaves no folder and no lock
        if item.owner:
            raise CannotFetch(f"{item.name} comes with {item.page} and is not fetched")
        if not wanted:
            raise CannotFetch(
                f"no address of {item.file} is known: get it from {item.page}, then "
                f"demoe weights fetch {item.name} --from FILE"
            )
        if online and (why := no_answer(url) if source else unreachable(url)):
            raise CannotFetch(
                f"{item.file} cannot be fetched from {url} ({why}): fetch it on another machine from "
                f"{item.page}, then demoe weights fetch {item.name} --from FILE; or name a mirror "
                "with --from ADDRESS"
            )
        if not online:
            _file(Path(wanted), item.file)
    with alone(folder / f".{item.file}.lock", f"another process is fetching {item.file}: waiting for it"):
        if target.is_file():
            _check(item, target, f"delete {target} and fetch it again")
            return target
        partial = target.with_name(target.name + ".part")
        if online:
            _download(url, partial, bool(item.sha256), progress)
            again = "run this again, or name another source with --from"
        else:
            _forget(partial)
            shutil.copyfile(_file(Path(wanted), item.file), partial)
            again = "name another file with --from"
        try:
            _check(item, partial, again)
        except CannotFetch:
            _forget(partial)
            raise
        partial.replace(target)
        _forget(partial)
    return target


def _check(item: Item, path: Path, advice: str) -> None:
    found = sha256(path)
    if not found.startswith(item.sha256):
        raise CannotFetch(
            f"{item.file} has SHA-256 {found}, expected {item.sha256}{'...' * (len(item.sha256) < 64)}; {advice}"
        )
    if item.network:
        from . import checkpoints

        try:
            checkpoints.load(path)
        except checkpoints.CheckpointError as error:
            raise CannotFetch(f"this is no {item.file}: {error} {advice}") from None


def _file(source: Path, name: str) -> Path:
    source = source.expanduser()
    source = source / name if source.is_dir() else source
    if not source.is_file():
        raise CannotFetch(f"there is no file {source}")
    return source


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _tag(partial).unlink(missing_ok=True)


def _tag(partial: Path) -> Path:
    """The file that keeps the server's name or date of the version being fetched."""
    return partial.with_name(partial.name + ".etag")


def _download(url: str, partial: Path, checked: bool, progress: bool) -> None:
    """Leaves the whole of what the address gives in ``partial``. ``checked``: a mixture would be found out later."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    fruitless = most = 0
    while True:
        if not checked and not _tag(partial).exists():  # nothing could tell another version from this one
            partial.unlink(missing_ok=True)
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _attempt(url, partial, before, progress):
                return
            why = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code != 416 or not before:
                raise CannotFetch(
                    f"{url} answers {error.code} {error.reason}: name another source with --from"
                ) from None
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(before):
                return  # the whole was there already
            _forget(partial)
            why = "it is another file than before"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename:  # this machine's disk
                raise
            why = str(getattr(error, "reason", error))
        now = partial.stat().st_size if partial.exists() else 0
        fruitless, most = 0 if now > max(before, most) else fruitless + 1, max(now, most)
        if fruitless == TRIES:
            kept = (
                "what is here is kept: run this again to continue"
                if checked or _tag(partial).exists()
                else ("it cannot be continued: run this again")
            )
            raise CannotFetch(f"{url} broke off after {now} bytes ({why}); {kept}")


def _attempt(url: str, partial: Path, have: int, progress: bool) -> bool:
    """One connection; whether the file is whole afterwards."""
    headers = {"User-Agent": f"demoe/{__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _tag(partial).exists():
            headers["If-Range"] = _tag(partial).read_text()  # another version is sent from its beginning
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        if answer.headers.get_content_type() == "text/html":
            raise CannotFetch(f"{url} gives a web page, not the file: open it in a browser, then use --from FILE")
        continued = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status == 206 and not continued:
            raise CannotFetch(f"{url} continues at another place than asked for: delete {partial} and try again")
        have = have if continued else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        room = shutil.disk_usage(partial.parent).free
        if (total or 0) > LARGEST or (total or 0) - have > room:
            raise CannotFetch(f"{url} has {total} bytes, and {min(room, LARGEST)} are the most that fit here")
        tag = answer.headers.get("ETag", "")
        tag = answer.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        if tag:
            _tag(partial).write_text(tag)
        elif not continued:  # a server need not repeat them where it continues
            _tag(partial).unlink(missing_ok=True)
        with (
            partial.open("ab" if continued else "wb") as stream,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, leave=False, disable=not progress) as bar,
        ):
            while block := answer.read(CHUNK):
                have += len(block)
                if have > LARGEST:
                    raise CannotFetch(f"{url} does not end: {LARGEST} bytes were read")
                stream.write(block)
                bar.update(len(block))
    return total is None or have == total
