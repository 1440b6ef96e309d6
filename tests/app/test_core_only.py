"""Where only the core is installed photographs are deblurred, and who asks for more is told what to install."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from demoe.core import extras, images
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig

RUNNER = Path(__file__).parents[1] / "core_only.py"
PLENTY = "pandas scipy matplotlib skimage sklearn torchvision timm seaborn IPython pytorch_msssim lpips huggingface_hub"


def core_only(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(RUNNER), f"import sys\nfrom demoe.app import cli\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_photographs_frames_export_and_lists_need_the_core_alone(tmp_path):
    for name in ("photos/a.jpg", "frames/01.png"):
        images.write_photograph(tmp_path / name, images.Photograph(torch.rand(3, 40, 52)))
    network = DeMoE(DeMoEConfig(4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,)))
    checkpoints.save(network, tmp_path / "small.safetensors")
    commands = [
        ["deblur", "photos", "-o", "out", "--compare", "--expert-map"],
        ["frames", "frames", "-o", "restored"],
        ["export", "network.pt2", "--expert", "defocus"],  # sooner than with the router
        ["weights"],
        ["data", "where"],
        ["data", "check"],  # which finds none, and says so
    ]
    code = f"""import importlib.util, os
absent = [name for name in {PLENTY!r}.split() if importlib.util.find_spec(name) is None]
os.chdir({str(tmp_path)!r})
os.environ["DEMOE_WEIGHTS"] = "small.safetensors"
said = [cli.main(command) for command in {commands!r}]
import demoe
said.append(demoe.deblur("photos/a.jpg").image.shape)
print("absent:", len(absent), "said:", said)"""
    done = core_only(code)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    assert last == f"absent: {len(PLENTY.split())} said: [0, 0, 0, 0, 0, 2, torch.Size([3, 40, 52])]", (
        done.stderr + last
    )
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {"out/a.jpg", "out/a.jpg.compare.png", "out/a.jpg.experts.csv", "restored/01.png", "network.pt2"}
    assert wanted <= made


def test_commands_that_need_more_say_what_to_install(tmp_path):
    commands = [words.split()[1:] for words in extras.OF_COMMAND] + [["train", "--list"], ["evaluate", "a", "b"]]
    commands = [[*words, "out"] if words[-1] == "build" else words for words in commands]
    done = core_only(f"sys.exit(str([cli.main(command) for command in {commands!r}]))")
    *sentences, statuses = done.stderr.strip().splitlines()
    assert statuses == str([1] * len(commands)), done.stderr
    for words, line in zip(commands, sentences, strict=True):
        extra = next(
            extra
            for command, extra in extras.OF_COMMAND.items()
            if command.split()[1:] == words[: len(command.split()) - 1]
        )
        assert line.startswith("demoe: ") and line.endswith(f"pip install 'demoe[{extra}]'"), line


@pytest.mark.parametrize(("module", "extra"), [("experiments", "training"), ("blur", "data"), ("related", "training")])
def test_so_do_imports(module, extra):
    done = core_only(f"import demoe.{module}")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: demoe.{module} needs the package ")
    assert last.endswith(f": pip install 'demoe[{extra}]'")
