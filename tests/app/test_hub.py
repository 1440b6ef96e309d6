"""Networks by name, from a server on this machine that stands in for the Hugging Face Hub; and without any server."""

import base64
import hashlib
import http.server
import json
import re
import threading
import time

import pytest
import torch

import demoe
from demoe.app import cli, hub, hub_card, networks
from demoe.core import downloads
from demoe.models import checkpoints, pretrained
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

huggingface_hub = pytest.importorskip("huggingface_hub", reason="pip install 'demoe[hub]'")
pytest.importorskip("huggingface_hub.constants")  # which is not loaded with the package
SIZES = {"width": 2, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as one commit and downloads ask for. ``server.files``: {repository: {name: content}}."""

    protocol_version = "HTTP/1.1"

    def answer(self, status=200, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, value, status=200):
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0]
        if path == "/":
            return self.answer()
        if listed := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/main", path):
            files = server.files.get(listed[1], {})
            entries = [{"type": "file", "path": name, "size": len(files[name]), "oid": "0"} for name in files]
            return self.json(entries)
        wanted = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not wanted or wanted[1] not in server.files:
            return self.answer(404 if server.known else 401, X_Error_Code="RepoNotFound")
        if wanted[2] not in ("main", "c" * 40):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if wanted[3] not in server.files[wanted[1]]:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit="c" * 40)
        content = server.files[wanted[1]][wanted[3]]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.answer(200, content, ETag=etag, X_Repo_Commit="c" * 40, Accept_Ranges="bytes")

    def do_POST(self):
        server, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        server.posted.append(self.path)
        if not server.known:
            return self.json({"error": "Invalid user token"}, 401)
        if self.path == "/api/validate-yaml":
            server.validated = json.loads(body)
            return self.json({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            server.files.setdefault(name, {})
            server.private = asked.get("private") or asked.get("visibility") == "private"  # by version
            return self.json({"url": f"{server.url}/{name}", "name": name})
        if self.path.endswith("/preupload/main"):
            files = [{"path": one["path"], "uploadMode": "regular"} for one in json.loads(body)["files"]]
            return self.json({"files": [one | {"shouldIgnore": False, "oid": None} for one in files]})
        repository = re.match(r"/api/models/([^/]+/[^/]+)/commit/main", self.path)[1]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                server.files[repository][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        url = f"{server.url}/{repository}/commit/{'c' * 40}"
        return self.json({"success": True, "commitUrl": url, "commitOid": "c" * 40, "hookOutput": ""})

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    downloads._asked.cache_clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.posted, server.known, server.private = {}, [], True, False
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    downloads._asked.cache_clear()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return DeMoE(DeMoEConfig(**SIZES)).eval()


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_what_is_pushed_comes_back(server, model, tmp_path, capsys):
    origin = {"commit": "abcd1234", "seed": 3, "training": {"dataset": "AIO-Blur", "data": "synthetic"}}
    file = checkpoints.save(model, tmp_path / "net.safetensors", origin)
    assert cli.main(["push", "someone/roses", "--weights", str(file), "--private", "--licence", "cc-by-4.0"]) == 0
    assert capsys.readouterr().out == f"{server.url}/someone/roses\n" and server.private
    pushed = server.files["someone/roses"]
    assert sorted(pushed) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads(pushed["config.json"])["config"]["width"] == 2
    card = pushed["README.md"].decode()
    metadata = huggingface_hub.ModelCard(card).data  # as the Hub reads it
    assert (metadata.license, metadata.library_name) == ("cc-by-4.0", "demoe") and "arxiv:2508.06228" in metadata.tags
    assert "synthetic pairs of AIO-Blur" in card and "commit abcd1234, seed 3" in card and "low_light" in card
    assert 'demoe.from_pretrained("someone/roses")' in card
    assert same(demoe.from_pretrained("someone/roses"), model)
    assert checkpoints.provenance(hub.find("someone/roses")) == origin
    assert same(networks.default_model("someone/roses", "cpu"), model)  # so does --weights


def test_a_dry_run_writes_the_folder_and_asks_nobody(server, model, tmp_path, capsys):
    file = checkpoints.save(model, tmp_path / "net.safetensors")
    words = ["push", "someone/roses", "--weights", str(file), "--dry-run", str(tmp_path / "card")]
    assert cli.main(words) == 1 and "does not say what it was trained on: say it by --data" in capsys.readouterr().err
    assert cli.main([*words, "--data", "300 pairs of roses."]) == 0 and not server.posted
    assert "**Trained on**: 300 pairs of roses.\n" in (tmp_path / "card/README.md").read_text()
    assert same(demoe.from_pretrained(tmp_path / "card"), model)  # a folder is as good as a repository
    assert cli.main([*words, "--data", "x"]) == 1 and "exists already" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["push", "roses"])
    assert "write USER/NAME" in capsys.readouterr().err


def test_a_stranger_is_told_how_to_say_who_it_is(server, model, tmp_path, capsys):
    server.known = False
    file = checkpoints.save(model, tmp_path / "net.safetensors")
    assert cli.main(["push", "a/b", "--weights", str(file), "--data", "x"]) == 1
    assert "name yourself by `hf auth login` or $HF_TOKEN" in capsys.readouterr().err


def test_what_is_not_there_is_one_sentence(server, model, tmp_path):
    server.files["a/b"] = {"other.pt": b"", "third.pth": b"", "README.md": b""}
    for name, options, words in (
        ("a/none", {}, "has no repository a/none, or keeps it private: check the name"),
        ("a/b", {}, r"/a/b has no model\.safetensors: it has other\.pt, third\.pth"),
        ("a/b", {"file": "x.pt"}, r"has no x\.pt"),
        ("a/b", {"revision": "v9"}, "has no revision 'v9'"),
    ):
        with pytest.raises(hub.CannotFind, match=words) as error:
            demoe.from_pretrained(name, **options)
        assert "\n" not in str(error.value)
    del server.files["a/b"]["third.pth"]
    server.files["a/b"]["other.pt"] = checkpoints.save(model, tmp_path / "m.safetensors").read_bytes()
    assert same(demoe.from_pretrained("a/b"), model)  # the only file of weights


def test_once_here_no_network_is_needed(server, model, tmp_path, monkeypatch):
    server.files["a/b"] = {"model.safetensors": checkpoints.save(model, tmp_path / "m.safetensors").read_bytes()}
    assert same(demoe.from_pretrained("a/b"), model)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert same(demoe.from_pretrained("a/b"), model)
    with pytest.raises(hub.CannotFind, match=r"HF_HUB_OFFLINE is set\): run this once with network, name a mirror"):
        demoe.from_pretrained("a/c")


def test_the_only_file_of_weights_is_found_without_network_too(server, model, tmp_path, monkeypatch):
    server.files["a/b"] = {"roses.safetensors": checkpoints.save(model, tmp_path / "m.safetensors").read_bytes()}
    assert same(demoe.from_pretrained("a/b"), model)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert same(demoe.from_pretrained("a/b"), model)


def test_a_connection_that_breaks_off_is_one_sentence(server, model, tmp_path, monkeypatch, capsys):
    """What the HTTP library raises is none of the Hub's errors. Served for real it is retried for minutes."""

    class Disconnected(Exception):
        pass

    def broken(*args, **kwargs):
        raise Disconnected("Server disconnected")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(hub.CannotFind, match=r"/a/b gives no model\.safetensors: Server disconnected$"):
        demoe.from_pretrained("a/b")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", broken)
    file = checkpoints.save(model, tmp_path / "net.safetensors")
    assert cli.main(["push", "a/b", "--weights", str(file), "--data", "x"]) == 1
    assert "gave no answer to the end (Server disconnected)" in capsys.readouterr().err.splitlines()[-1]


def test_a_card_names_ones_own_pairs_and_the_start(model):
    origin = {"training": {"pairs": "roses", "data": "real"}, "start": "demoe-cpu.safetensors"}
    assert hub_card._trained_on(origin) == "roses, from demoe-cpu.safetensors"


def test_without_network_it_fails_within_seconds(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    start = time.monotonic()
    with pytest.raises(hub.CannotFind, match=rf"model.safetensors of a/b is not in {tmp_path}/hub, and http://127"):
        demoe.from_pretrained("a/b")
    with pytest.raises(RuntimeError, match="cannot be reached"):
        hub_card.push({}, "a/b")
    assert time.monotonic() - start < 60


def test_an_address(server, tmp_path, monkeypatch):
    net = NAFNet(NAFNetConfig(**SIZES)).eval()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    server.files["a/b"] = {"x.pth": checkpoints.save(net, tmp_path / "m.safetensors").read_bytes()}
    address = f"{server.url}/a/b/resolve/main/x.pth"
    assert same(demoe.from_pretrained(address), net)
    del server.files["a/b"]
    assert same(networks.default_model(address, "cpu"), net)  # kept
    with pytest.raises(RuntimeError, match="answers 404"):
        demoe.from_pretrained(f"{server.url}/a/b/resolve/main/y.pth")
    with pytest.raises(hub.CannotFind, match="gives nothing"):
        demoe.from_pretrained("http://127.0.0.1:9/x.pth")


def test_names_files_and_folders(tmp_path, model):
    assert hub.find("demoe-cpu") == pretrained.get("demoe-cpu").find()
    with pytest.raises(hub.CannotFind, match=r"there is no weights file demoe-cup \(did you mean 'demoe-cpu'\?\)"):
        hub.find("demoe-cup")
    with pytest.raises(hub.CannotFind, match=r"there is no weights file runs/x\.safetensors"):
        hub.find("runs/x.safetensors")  # no repository is called so
    checkpoints.save(model, tmp_path / "other.safetensors")
    with pytest.raises(hub.CannotFind, match=r"holds no model\.safetensors: it has other\.safetensors"):
        hub.find(tmp_path)
    assert hub.find(tmp_path, file="other.safetensors") == tmp_path / "other.safetensors"


def test_without_the_package_there_is_one_sentence(monkeypatch, model, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package huggingface_hub: pip install 'demoe\[hub\]'"):
        demoe.from_pretrained("a/b")
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        hub_card.files(checkpoints.save(model, tmp_path / "m.safetensors"), "a/b", data="x")
