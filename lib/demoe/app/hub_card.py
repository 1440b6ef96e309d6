"""A network as others get it from the Hugging Face Hub: its file, its configuration, and a card that tells about it."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import nn

from demoe.core import __version__
from demoe.core.downloads import unreachable
from demoe.core.files import first_line, write_bytes
from demoe.core.tasks import EXPERTS
from demoe.models import checkpoints
from demoe.models.outputs import experts_of

from .hub import FILE, NEEDED, endpoint

PAPER = "2508.06228"  # of arXiv
CARD = """
# {name}

{what}, which removes blur from photographs{experts}. Written by demoe {version}.

```python
import demoe

network = demoe.from_pretrained("{repository}")
result = demoe.deblur("photo.jpg", model=network)
result.save("restored.png")
```

On the command line: `demoe deblur photo.jpg -o restored/ --weights {repository}`.

- **Input**: (B, 3, H, W) in [0, 1], RGB, any height and width. **Output**: a picture of the same size.
- **Size**: {parameters:.2f} M parameters, width {width}; the whole configuration is in `config.json`.
- **Trained on**: {data}.
- **Licence**: {licence}. Data may have terms of their own.
- **Origin**: {origin}.
- **What it cannot do**: make up what the blur has taken; and a router can be sure and wrong about a
  kind of picture that it was not trained on. Look at the results.

Architecture: Feijoo et al., *Towards Unified Image Deblurring using a Mixture-of-Experts Decoder*,
[arXiv:{paper}](https://arxiv.org/abs/{paper}).
"""


def files(weights: Path, repository: str, licence: str = "mit", data: str | None = None) -> dict[str, bytes]:
    """The content of a repository, by name: ``model.safetensors``, ``config.json`` and ``README.md``.

    ``data``: what it was trained on; None says what the file's provenance does. Raises ``CheckpointError`` for a file
    that holds no network, ``ValueError`` for one that does not say what it was trained on where ``data`` does not
    either, and ``ModuleNotFoundError`` without huggingface_hub.
    """
    network, origin = checkpoints.load(weights), checkpoints.provenance(weights)
    data = data or _trained_on(origin)
    if not data:
        raise ValueError(f"{weights} does not say what it was trained on: say it by --data")
    record = {"network": type(network).__name__, "config": asdict(network.config), "demoe_version": __version__}
    with tempfile.TemporaryDirectory() as folder:  # also what was a pickle of others is safetensors afterwards
        half = weights.stat().st_size < 3 * sum(value.numel() for value in network.state_dict().values())
        tensors = checkpoints.save(network, Path(folder) / FILE, origin, half).read_bytes()
    return {
        FILE: tensors,
        "config.json": (json.dumps(record, indent=2) + "\n").encode(),
        "README.md": _card(network, origin, repository, licence, data).encode(),
    }


def write(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Puts them into a folder, which is made where it is not there. Raises ``FileExistsError`` rather than replace."""
    for name in files:
        if (folder / name).exists():
            raise FileExistsError(17, "exists already; choose another folder", str(folder / name))
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in files]


def push(files: Mapping[str, bytes], repository: str, private: bool = False) -> str:
    """Makes the repository where it is not there, adds the files in one commit, and returns the address.

    Whoever pushes is known by ``hf auth login`` or $HF_TOKEN. Raises ``RuntimeError``, one sentence, where the Hub
    cannot be reached or refuses, ``ModuleNotFoundError`` without huggingface_hub.
    """
    library = _library()
    if why := unreachable(endpoint()):
        raise RuntimeError(f"{endpoint()} cannot be reached ({why}): --dry-run DIR writes the folder meanwhile")
    hub = library.HfApi(endpoint(), library_name="demoe", library_version=__version__)
    parts = [library.CommitOperationAdd(name, io.BytesIO(content)) for name, content in files.items()]
    try:
        hub.create_repo(repository, private=private or None, exist_ok=True)
        hub.create_commit(repository, parts, commit_message=f"Network and card, by demoe {__version__}")
    except library.errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        login = ": name yourself by `hf auth login` or $HF_TOKEN" if status in (401, 403) else ""
        raise RuntimeError(f"{endpoint()} refuses {repository} ({first_line(error)}){login}") from None
    except library.errors.LocalTokenNotFoundError:
        raise RuntimeError("the Hub does not know who you are: `hf auth login`, or $HF_TOKEN") from None
    except Exception as error:  # the connection broke off: whatever the library below raises
        raise RuntimeError(f"{endpoint()} gave no answer to the end ({first_line(error)}): try again") from None
    return f"{endpoint()}/{repository}"


def _library():
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(NEEDED) from None
    return huggingface_hub


def _card(network: nn.Module, origin: Mapping, repository: str, licence: str, data: str) -> str:
    """``README.md``: metadata that the Hub reads, and what a person does."""
    kind, count = type(network).__name__, experts_of(network)
    metadata = _library().ModelCardData(
        license=licence,
        library_name="demoe",
        pipeline_tag="image-to-image",
        tags=["deblurring", "image-restoration", *(["mixture-of-experts"] if count else []), f"arxiv:{PAPER}"],
    )
    names = EXPERTS if count == len(EXPERTS) else [f"expert {number}" for number in range(count)]
    facts = ((word, origin.get(word)) for word in ("commit", "config", "seed", "profile", "hardware"))
    text = CARD.format(
        name=repository.split("/")[1],
        what={"DeMoE": "A DeMoE", "NAFNet": "A NAFNet"}.get(kind, f"Network {kind}"),
        experts=f" by experts that a router chooses from: {', '.join(names)}" if count else "",
        version=__version__,
        repository=repository,
        parameters=sum(parameter.numel() for parameter in network.parameters()) / 1e6,
        width=getattr(network.config, "width", "as in config.json"),
        data=data.rstrip("."),
        licence=licence,
        origin=", ".join(f"{word} {value}" for word, value in facts if value not in (None, "")) or "not known",
        paper=PAPER,
    )
    return f"---\n{metadata.to_yaml()}\n---\n{text}"


def _trained_on(origin: Mapping) -> str:
    """What the provenance of a training says of its data; "" where it says nothing."""
    training = origin.get("training", {})
    dataset, data = training.get("dataset", ""), training.get("data", origin.get("data", ""))
    if pairs := training.get("pairs"):  # one's own
        return f"{pairs}{', from ' + origin['start'] if origin.get('start') else ''}"
    if not (dataset or data):
        return ""
    photographs = origin.get("release", {}).get("photographs", "")
    return f"{data} pairs of {dataset or 'blur'}".strip() + (
        f", made of photographs of {photographs}" * bool(photographs)
    )
