"""Options of the commands for people with photographs: ``deblur``, ``frames``, ``app``, ``export``, ``weights``, ..."""

from __future__ import annotations

from pathlib import Path

from demoe.core.tasks import EXPERTS

from . import arguments

EXPERT_HELP = f"auto (the router chooses; default) or one of {', '.join(EXPERTS)}, or a dataset's name"


def add_weights(commands) -> None:
    """``weights``, ``weights fetch`` and ``push``."""
    weights = arguments.add(
        commands,
        "weights",
        "list pretrained weights, or fetch some",
        examples="demoe weights\ndemoe weights --long --check\ndemoe weights fetch demoe",
    )
    arguments.add_output(weights, "all that is known")
    arguments.flag(weights, "--long", "say of each where it is from, its licence and its sum")
    arguments.flag(weights, "--check", "compute the SHA-256 of what is here, and compare; goes with --long")
    inner = weights.add_subparsers(title="commands", metavar="COMMAND")
    fetch = arguments.add(
        inner,
        "fetch",
        "fetch one of them, checked; what broke off goes on",
        examples="demoe weights fetch demoe\n"
        "demoe weights fetch nafnet-32 --from https://example.org/mirror/\n"
        "demoe weights fetch demoe --from ~/Downloads/DeMoE.pt",
    )
    fetch.add_argument("name", metavar="NAME", help="as `demoe weights` lists it")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="ADDRESS|PATH",
        help="a mirror (http or https), or a file or folder on this machine",
    )
    fetch.add_argument("--to", type=Path, metavar="DIR", help="where to put it (default: torch's hub cache)")
    push = arguments.add(
        commands,
        "push",
        "give a network with its card to the Hugging Face Hub",
        examples="demoe push me/demoe-roses --weights model.safetensors --licence cc-by-4.0\n"
        "demoe push me/demoe-roses --weights model.safetensors --dry-run card/   # writes, gives nothing away",
    )
    push.add_argument("repository", metavar="USER/NAME", help="made if it is not there yet")
    push.add_argument("--weights", metavar="FILE", help="the network (default: $DEMOE_WEIGHTS, else the packaged one)")
    push.add_argument("--licence", default="mit", metavar="NAME", help="as the Hub spells it (default mit)")
    push.add_argument("--data", metavar="TEXT", help="what it was trained on, where the file does not say")
    arguments.flag(push, "--private", "seen by its owner alone, if it is made now")
    push.add_argument("--dry-run", type=Path, metavar="DIR", help="write there what would be given away, and stop")


def add_photos(commands) -> None:
    """``deblur`` and ``frames``.

    Frames have a command of their own because they have another kind of input and output (one folder each, in order,
    continued when interrupted), and because one decision for each photograph is what ``deblur`` promises.
    """
    deblur = arguments.add(
        commands,
        "deblur",
        "deblur photographs, at their own size",
        examples="demoe deblur photo.jpg -o restored/                     # the router chooses the expert\n"
        "demoe deblur photo.jpg -o restored/ --expert defocus    # you do\n"
        "demoe deblur holiday/ -o restored/ --skip-existing      # what is new\n"
        "demoe deblur holiday/ -o restored/ --json > log.jsonl   # a line a photograph, for scripts\n"
        "demoe deblur --watch inbox/ -o restored/                # whatever arrives, until Ctrl-C",
    )
    frames = arguments.add(
        commands,
        "frames",
        "deblur a folder of numbered frames, or a video",
        examples="demoe frames frames/ -o restored/\ndemoe frames clip.mp4 -o restored/ --video restored.mp4",
    )
    deblur.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="IN",
        help="an image file (PNG, JPEG, TIFF, WebP, BMP, AVIF, JPEG XL, HEIC with the extra heic) or a folder, whose "
        "subfolders are included",
    )
    frames.add_argument("input", type=Path, metavar="IN", help="a folder of frames, or a video file")
    of_photographs = "folder for the results, named as the photographs; those of HEIC are .png"
    of_frames = (
        "folder for the frames: those of a folder keep their names, those of a video are 000001.png, ...; "
        "an interrupted call is continued"
    )
    for sub, text in ((deblur, of_photographs), (frames, of_frames)):
        sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=text)
        arguments.add_network(sub, EXPERT_HELP)
    there = deblur.add_mutually_exclusive_group()
    arguments.flag(there, "--skip-existing", "pass over photographs whose results are there already, by their names")
    arguments.flag(there, "--overwrite", "replace such results; the photographs themselves never are")
    arguments.flag(
        deblur, "--watch", "go on with what arrives in the folder IN, until Ctrl-C: whole files that have no result yet"
    )
    arguments.flag(frames, "--overwrite", "replace what an earlier call left in DIR, and the file of --video")
    deblur.add_argument(
        "--route",
        choices=("image", "tile"),
        help="one decision of the router for the photograph (default), or one a tile",
    )
    deblur.add_argument("--tile", type=arguments.tile, metavar="PIXELS", help="cut into tiles of this side in any case")
    arguments.flag(
        deblur, "--bf16", "compute in bfloat16: faster where the processor has it, half the memory, nearly the same"
    )
    arguments.flag(
        deblur,
        "--expert-map",
        "with --route tile, which it implies: also write which expert each tile had, "
        "as NAME.experts.png and NAME.experts.csv",
    )
    arguments.flag(
        deblur,
        "--compare",
        "also write NAME.compare.png: photograph, result and the five experts side by side, "
        "whole (made smaller) and a detail; takes up to six times as long",
    )

    frames.add_argument(
        "--smooth",
        type=float,
        default=0.8,  # frames.SMOOTH, which imports PyTorch
        metavar="S",
        help="from 0 (each frame decides alone) to below 1: how much of the router's average is past (default 0.8)",
    )
    frames.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="also put the results together as a video, with the sound of IN: .mp4, .m4v, .mov, .mkv or .avi",
    )
    frames.add_argument(
        "--fps", type=arguments.rate, metavar="N", help="its frames a second (default: the input's, else 25)"
    )
    for sub in (deblur, frames):
        arguments.flag(
            sub,
            "--no-guard",
            "follow the router also where it takes a bright picture for low light, where the picture is sharp already, "
            "or has blocks of JPEG that the network has never seen, and the one expert of an unsure router",
        )
        devices = ("auto", "cuda", "mps", "cpu")  # devices.DEVICES, which imports PyTorch
        sub.add_argument("--device", choices=devices, help="auto, the first of these that is there, is the default")
        sub.add_argument(
            "--max-memory",
            type=arguments.memory,
            metavar="SIZE",
            help="for the whole process, such as 3G (default: four fifths of what is free); a picture "
            "that needs more is cut into tiles",
        )
        arguments.add_output(sub, "what became of each" if sub is deblur else "what was done")


def add_app(commands) -> None:
    """``app``."""
    app = arguments.add(
        commands,
        "app",
        "open a page in the browser: drop photographs, compare, download",
        examples="demoe app\ndemoe app --no-browser --port 8000 --weights DeMoE.pt",
    )
    app.add_argument("--weights", metavar="FILE", help="the network (default: $DEMOE_WEIGHTS, else the packaged one)")
    app.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    app.add_argument(
        "--max-memory",
        type=arguments.memory,
        metavar="SIZE",
        help="for the whole process, such as 3G (default: four fifths of what is free)",
    )
    app.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860 on")
    arguments.flag(app, "--no-browser", "print the address and open nothing")


def add_export(commands) -> None:
    """``export``."""
    export = arguments.add(
        commands,
        "export",
        "write a network for other programs (.pt2 or .onnx)",
        examples="demoe export demoe.onnx\ndemoe export defocus.onnx --expert defocus --weights DeMoE.pt",
    )
    export.add_argument("output", type=Path, metavar="FILE", help="its suffix says which: .pt2 or .onnx")
    arguments.add_network(export, "fix this expert (default: the router inside)")


def add_completion(commands) -> None:
    """``completion``."""
    completion = arguments.add(
        commands,
        "completion",
        "print what completes demoe's commands and options in a shell",
        examples='eval "$(demoe completion bash)"                    # in ~/.bashrc\n'
        "demoe completion zsh > ~/.zfunc/_demoe              # a folder of $fpath",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh")
