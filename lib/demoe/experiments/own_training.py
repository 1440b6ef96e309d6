"""The configuration of a training on one's own pairs: its fields are keys of a TOML file and flags of a command.

One description serves all: what a file may hold, the comments of one that is written, and the JSON schema by which
editors complete and check it.
"""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator

from demoe.core.files import write_text
from demoe.core.tasks import EXPERTS, expert_index
from demoe.core.words import meant

SCHEMA = "demoe-train.schema.json"  # beside a file that is written
PARTS = ("all", "decoder", "experts")  # of a network, besides each expert
HEAD = f"""#:schema ./{SCHEMA}
# A training on pairs of one's own: demoe train --config FILE. Flags of the command override what stands here, and
# what is left out has its default. Paths are those of the folder in which the command is started.
"""


class OwnTraining(BaseModel):
    """All that a person chooses of a training on pairs of their own. None of it is stated in the paper; our choice."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="demoe train --pairs")

    pairs: str = Field("", description="the folder with blur/ and sharp/, whose pictures have equal names")
    start: str = Field(
        "",
        description="a file of weights to train on (DeMoE or NAFNet, ours or released), or the name of a packaged one, "
        'such as "demoe-cpu"; "" starts a NAFNet from random weights',
    )
    learn: str | None = Field(
        None,
        examples=["decoder"],
        description="what learns: all, decoder, experts, or one expert's name. By default the decoder from a start, "
        "which keeps what the encoder and the router know, and all of a network without one",
        json_schema_extra={"enum": [*PARTS, *EXPERTS, None]},
    )
    width: int | None = Field(None, ge=1, examples=[32], description="channels of a network without a start")
    steps: int = Field(1000, ge=1, description="length, in steps of the optimiser")
    rate: float | None = Field(
        None,
        gt=0,
        le=1,
        examples=[2e-4],
        description="learning rate at the first step, from which it falls by a cosine; by default 2e-4 from a start, "
        "1e-3 without",
    )
    last_rate: float = Field(1e-7, ge=0, description="learning rate at the last step")
    weight_decay: float = Field(1e-3, ge=0, description="AdamW's")
    crop: int = Field(128, ge=16, description="side of the crops that are trained on, in pixels")
    batch: int = Field(8, ge=1, description="crops a step")
    accumulate: int = Field(1, ge=1, description="parts that a batch is cut into where memory is short")
    loss: str = Field(
        "pixel",
        description='terms joined by +, with weights if need be: "pixel+edge=0.1"; demoe train --list shows all',
    )
    precision: Literal["", "float32", "bfloat16"] = Field("", description='"": bfloat16 on a GPU, float32 on a CPU')
    threads: int = Field(0, ge=0, description="of the processor; 0: all")
    seed: int = Field(0, ge=0, description="of the crops, their order, and random weights")
    held_out: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the pairs that is not trained on but watched: scored, shown, and what the best state is "
        "chosen by. Folders inside blur/ and sharp/ are held out whole. 0: none, and the last state is the result",
    )
    validate_every: int = Field(50, ge=1, description="steps between two looks at the held-out pairs")
    validate_pairs: int = Field(20, ge=1, description="held-out pairs that are looked at, at most")
    validate_side: int = Field(512, ge=16, description="of each the middle is looked at, so many pixels a side at most")
    samples: int = Field(3, ge=0, description="held-out pairs of which pictures are kept: blurred, restored, sharp")
    tensorboard: bool = Field(False, description="also write the curves and pictures for TensorBoard")
    accept_odd_pairs: bool = Field(False, description="train although pairs look identical, exchanged or misaligned")
    output: str = Field("", description='the folder of the training; "": results/own/runs/, by its name and settings')

    @field_validator("learn")
    @classmethod
    def _known_part(cls, text: str | None) -> str | None:
        name = (text or "").removeprefix("expert ").strip()
        if name in ("", *PARTS):
            return name or None
        try:
            return EXPERTS[expert_index(name)]
        except ValueError as error:
            raise ValueError(f"{error}, or {', '.join(PARTS)}") from None


def configured(file: Path | None, flags: Mapping[str, Any]) -> OwnTraining:
    """The configuration in ``file`` (None: the defaults), with ``flags`` in place of what it says.

    Raises ``ValueError``, one sentence that names the file or the flag, for a key that is not known, with what was
    probably meant, and a value that cannot be; ``OSError`` where the file cannot be read.
    """
    written: dict[str, Any] = {}
    if file is not None:
        try:
            written = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not TOML: {error}") from None
    try:
        return OwnTraining(**(written | flags))
    except pydantic.ValidationError as error:
        raise ValueError(_sentence(error, file, flags)) from None


def _sentence(error: pydantic.ValidationError, file: Path | None, flags: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0])
    place = f"--{key.replace('_', '-')}" if key in flags else f"{file}: {key}"
    if first["type"] == "extra_forbidden":
        known = OwnTraining.model_fields
        among = f": known are {', '.join(known)}"
        return f"{file}: unknown key {key!r}{meant(key, known) or among}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place} is {first['input']!r}: {message[0].lower()}{message[1:]}"


def write_config(config: OwnTraining, file: Path) -> None:
    """Writes ``config`` as commented TOML, which ``configured`` reads back as it is, and its JSON schema beside it.

    Raises ``ValueError`` where there is a file of that name: it may have been edited.
    """
    if file.exists():
        raise ValueError(f"{file} is there already, and may have been edited: choose another name")
    write_text(file, as_toml(config))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **OwnTraining.model_json_schema()}
    write_text(file.with_name(SCHEMA), json.dumps(schema, indent=2) + "\n")


def as_toml(config: OwnTraining) -> str:
    """``config`` as TOML, a comment before each key; a key whose value is None stands in a comment, with an example."""
    parts = [HEAD]
    for key, field in OwnTraining.model_fields.items():
        value = getattr(config, key)
        shown = json.dumps((field.examples or [""])[0] if value is None else value, ensure_ascii=False)
        shown = shown.replace("\x7f", "\\u007f")  # now strings and numbers are as in TOML
        comment = "\n".join(textwrap.wrap(f"{field.description}", 110, initial_indent="# ", subsequent_indent="# "))
        parts.append(f"{comment}\n{'# ' if value is None else ''}{key} = {shown}\n")
    return "\n".join(parts)
