"""Fetching weights from a server on this machine: whole, broken off, wrong, not there."""

import http.server
import json
import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from demoe.app import cli
from demoe.core import downloads as hosts
from demoe.models import checkpoints, fetch, pretrained
from demoe.models.fetch import CannotFetch
from demoe.models.nafnet import NAFNet, NAFNetConfig

CONTENT = bytes(range(256)) * 40  # 10240 bytes
NOBODY = 2**31 - 1  # no process has this number


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives ``server.content`` at every address; ``server.cut`` bytes of it if that is set."""

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        server, content = self.server, self.server.content
        server.seen.append(self.path)
        if server.status != 200:
            self.send_error(server.status)
            return
        wanted = self.headers["Range"]
        if wanted and server.tag and self.headers["If-Range"] == server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            server.resumed.append(start)
            if start >= len(content):
                self.send_error(416)
                return
            content = content[start:]
            self.send_response(206)
        else:
            self.send_response(200)
        if server.tag:
            self.send_header("ETag", server.tag)
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    hosts._asked.cache_clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.cut, server.status = CONTENT, None, 200
    server.kind, server.seen, server.tag, server.resumed = "application/octet-stream", [], "", []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def item(server=None, content=CONTENT, **more):
    import hashlib

    url = f"{server.url}w.bin" if server else ""
    given = {"url": url, "sha256": hashlib.sha256(content).hexdigest()} | more
    return pretrained.Item("thing", "a thing", "w.bin", "https://example.org/page", "MIT", "10 KiB", **given)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_whole_file(server, tmp_path):
    path = fetch.fetch(item(server), folder=tmp_path)
    assert path.read_bytes() == CONTENT and visible(tmp_path) == ["w.bin"]
    assert fetch.fetch(item(server), folder=tmp_path) == path and len(server.seen) == 1  # it is there already
    path.write_bytes(b"rotten")
    with pytest.raises(CannotFetch, match=r"delete .*w.bin and fetch it again"):
        fetch.fetch(item(server), folder=tmp_path)
    assert path.read_bytes() == b"rotten"


@pytest.mark.parametrize("sum_known", [True, False])
def test_a_broken_connection_leaves_nothing_and_can_be_repeated(server, tmp_path, sum_known):
    thing = item(server) if sum_known else item(server, sha256="")
    server.cut = 4000
    (tmp_path / f".0.{NOBODY}.demoe-part").write_bytes(b"of a process that was killed")
    with pytest.raises(CannotFetch, match=r"broke off after 4000 of 10240 bytes: run this again"):
        fetch.fetch(thing, folder=tmp_path)
    assert visible(tmp_path) == []
    server.cut = None
    assert fetch.fetch(thing, folder=tmp_path).read_bytes() == CONTENT and visible(tmp_path) == ["w.bin"]


def test_a_broken_download_goes_on(server, tmp_path):
    server.tag, server.cut = '"one"', 4000
    with pytest.raises(CannotFetch, match=r"after 4000 of 10240 bytes: run this again, and it goes on from there"):
        fetch.fetch(item(server), folder=tmp_path)
    server.cut = 1000
    with pytest.raises(CannotFetch, match=r"after 5000 of 10240 bytes"):
        fetch.fetch(item(server), folder=tmp_path)
    server.cut = None
    assert fetch.fetch(item(server), folder=tmp_path).read_bytes() == CONTENT
    assert server.resumed == [4000, 5000] and visible(tmp_path) == ["w.bin"]


def test_what_was_begun_of_another_version_or_address_is_not_gone_on_from(server, tmp_path):
    server.tag, server.cut = '"one"', 4000
    with pytest.raises(CannotFetch):
        fetch.fetch(item(server), folder=tmp_path)
    server.tag, server.cut, server.content = '"two"', None, CONTENT[::-1]
    other = item(server, CONTENT[::-1])
    assert fetch.fetch(other, folder=tmp_path).read_bytes() == CONTENT[::-1] and not server.resumed
    (tmp_path / "w.bin").unlink()
    server.cut = 4000
    with pytest.raises(CannotFetch):
        fetch.fetch(other, folder=tmp_path)
    server.cut = None
    assert fetch.fetch(other, server.url + "mirror/", tmp_path).read_bytes() == CONTENT[::-1] and not server.resumed
    # Killed before the whole file had its name: the server has nothing to add, and it is fetched once more.
    (tmp_path / "w.bin").rename(tmp_path / ".w.bin.begun")
    (tmp_path / ".w.bin.version").write_text(f'{server.url}w.bin\n"two"\n')
    assert fetch.fetch(other, folder=tmp_path).read_bytes() == CONTENT[::-1]
    assert server.resumed == [10240] and visible(tmp_path) == ["w.bin"]


@pytest.mark.parametrize("digits", [64, 8])
def test_a_wrong_sum_is_refused(server, tmp_path, digits):
    wrong = item(content=b"other").sha256[:digits]
    with pytest.raises(CannotFetch, match=rf"expected {wrong}"):
        fetch.fetch(item(server, sha256=wrong), folder=tmp_path)
    assert visible(tmp_path) == []
    assert fetch.fetch(item(server, sha256=item().sha256[:digits]), folder=tmp_path).exists()


def test_web_pages_errors_and_files_too_large_are_refused(server, tmp_path, monkeypatch):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(CannotFetch, match="web page"):
        fetch.fetch(item(server), folder=tmp_path)
    server.kind, server.status = "application/octet-stream", 404
    with pytest.raises(CannotFetch, match="answers 404"):
        fetch.fetch(item(server), folder=tmp_path)
    server.status = 200
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(CannotFetch, match="10240 bytes, which do not fit"):
        fetch.fetch(item(server), folder=tmp_path)
    assert visible(tmp_path) == []


def test_mirrors_and_paths(server, tmp_path):
    fetch.fetch(item(), server.url + "mirror/", tmp_path / "a")
    assert server.seen[-1] == "/mirror/w.bin"
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(CannotFetch, match="no file"):
        fetch.fetch(item(), str(source), tmp_path / "b")
    (source / "w.bin").write_bytes(CONTENT)
    for number, given in enumerate((source, source / "w.bin")):
        assert fetch.fetch(item(), str(given), tmp_path / str(number)).read_bytes() == CONTENT
    (source / "w.bin").write_bytes(b"other")
    with pytest.raises(CannotFetch, match="name another file"):
        fetch.fetch(item(), str(source), tmp_path / "c")
    assert (source / "w.bin").read_bytes() == b"other" and visible(tmp_path / "c") == []


def test_a_mirror_named_by_a_person_is_asked_even_offline(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CannotFetch, match="HF_HUB_OFFLINE is set"):
        fetch.fetch(item(server), folder=tmp_path / "a")
    assert not server.seen and not (tmp_path / "a").exists()  # not even a lock
    assert fetch.fetch(item(server), server.url, tmp_path / "a").read_bytes() == CONTENT


def test_without_network_or_address(tmp_path, monkeypatch):
    with pytest.raises(CannotFetch, match=r"get it from https://example.org/page.*--from FILE"):
        fetch.fetch(item(), folder=tmp_path)
    monkeypatch.setattr(fetch, "unreachable", lambda url: "no answer within 5 s")
    with pytest.raises(CannotFetch, match=r"no answer within 5 s.*another machine.*--from FILE.*mirror"):
        fetch.fetch(item(url="https://example.org/w.bin"), folder=tmp_path)
    with pytest.raises(CannotFetch, match="comes with"):
        fetch.fetch(replace(item(), owner="lpips:w.bin"), folder=tmp_path)
    with pytest.raises(CannotFetch, match="no file"):
        fetch.fetch(item(), str(tmp_path / "gone"), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_network_must_be_one_and_nothing_in_it_is_executed(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    source = tmp_path / "w.bin"
    source.write_bytes(pickle.dumps({"params": Evil()}))
    for content in (source.read_bytes(), b"PK\3\4 no network", CONTENT):
        source.write_bytes(content)
        with pytest.raises(CannotFetch, match=r"this is no w.bin"):
            fetch.fetch(item(network=True, sha256=""), str(source), tmp_path / "to")
    assert not (tmp_path / "executed").exists() and visible(tmp_path / "to") == []
    torch.manual_seed(0)
    net = NAFNet(NAFNetConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,)))
    checkpoints.save(net, tmp_path / "net.safetensors")
    path = fetch.fetch(item(network=True, sha256=""), str(tmp_path / "net.safetensors"), tmp_path / "to")
    assert path.name == "w.bin" and checkpoints.load(path).config == net.config


# The list.


def test_items_say_what_is_known_and_no_more():
    names = [one.name for one in pretrained.ITEMS]
    assert len(set(names)) == len(names) and {"demoe", "nafnet-32", "vgg", "alexnet", "clip", "musiq"} <= set(names)
    for one in pretrained.ITEMS:
        assert one.page and one.licence and one.size and pretrained.get(one.name.upper()) is one
        assert not one.sha256 or (len(one.sha256) in (8, 64) and int(one.sha256, 16))
        assert one.url.startswith("https://") or not one.url
        named = re.search(r"-([0-9a-f]{8})\.pth$", one.file)  # such names carry the beginning of the sum
        assert (named[1] if named else "") == (one.sha256 if len(one.sha256) == 8 else "")
    with pytest.raises(
        ValueError,
        match="choose one of demoe-cpu, baseline-cpu, demoe-real, baseline-real, demoe-smoke, baseline-smoke, demoe",
    ):
        pretrained.get("magic")


def test_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("DEMOE_WEIGHTS", raising=False)
    vgg, smoke = pretrained.get("vgg"), pretrained.get("demoe-smoke")
    assert vgg.find() is None and smoke.find().is_file() and "not here: demoe weights fetch vgg" in pretrained.table()
    place = tmp_path / "checkpoints" / vgg.file
    place.parent.mkdir()
    place.write_bytes(b"half a fi")
    assert vgg.find() == place and f"here: {place}" in pretrained.table()
    assert "DAMAGED" in pretrained.table(check=True) and "DAMAGED" not in pretrained.table()
    monkeypatch.setenv("DEMOE_WEIGHTS", str(place))
    assert pretrained.get("demoe").find() is None  # any network may be named there
    assert pretrained.table().endswith(f"$DEMOE_WEIGHTS, used where no --weights are given: {place}")
    assert "another file than DeMoE.pt" in pretrained.verdict(pretrained.get("demoe"), place)
    theirs = tmp_path / "DeMoE.pt"
    theirs.write_bytes(b"theirs")
    monkeypatch.setenv("DEMOE_WEIGHTS", str(theirs))
    assert pretrained.get("demoe").find() == theirs and "used where" not in pretrained.table()
    monkeypatch.setenv("DEMOE_WEIGHTS", str(tmp_path / "gone/DeMoE.pt"))
    assert pretrained.get("demoe").find() is None and pretrained.table().endswith("gone/DeMoE.pt (not there)")
    if (own := pretrained.get("lpips-vgg").find()) is not None:
        assert pretrained.verdict(pretrained.get("lpips-vgg"), own) == "SHA-256 as expected"


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert cli.main(["weights", "--long"]) == 0 and "licence: unknown" in capsys.readouterr().out
    assert cli.main(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    theirs = [item.name for item in pretrained.ITEMS].index("demoe")  # after what comes with the package
    assert len(lines) == len(pretrained.ITEMS) + 2 and re.match(r"demoe +to fetch  the authors' DeMoE", lines[theirs])
    assert cli.main(["weights", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == [item.name for item in pretrained.ITEMS] and listed[theirs][
        "path"
    ] is None
    (tmp_path / "niqe_modelparameters.mat").write_bytes(b"numbers")
    assert cli.main(["weights", "fetch", "niqe", "--from", str(tmp_path), "--to", str(tmp_path / "to")]) == 0
    assert "with nothing to compare" in capsys.readouterr().out
    assert (tmp_path / "to/niqe_modelparameters.mat").read_bytes() == b"numbers"
    assert cli.main(["weights", "fetch", "vgg"]) == 1  # the tests are offline
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["weights", "fetch", "demoe-cup"])
    assert "usage: demoe weights fetch" in (said := capsys.readouterr().err) and "did you mean 'demoe-cpu'?" in said
