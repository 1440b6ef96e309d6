"""Other programs for the same network: ONNX Runtime and OpenVINO run what ``demoe export`` writes (extra ``peers``)."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from demoe.inference.export import export
from demoe.models.demoe import DeMoE

from .options import Case

PEERS = ("onnxruntime", "openvino")
Call = Callable[[], Tensor]


def peers(model: DeMoE, case: Case, x: Tensor) -> dict[str, Call]:
    """By name of ``PEERS`` that are installed, a call that restores ``x`` (B, 3, H, W) with the router's one expert.

    None of them for mixed experts, and on a GPU. Each has as many threads as PyTorch; OpenVINO knows the picture's size
    beforehand, which is its faster way. A warning names one that is not installed, or fails.
    """
    if case.mixed or x.device.type != "cpu":
        return {}
    found: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = export(model, Path(folder) / "network.onnx")
        except (ImportError, RuntimeError, ValueError) as error:
            warnings.warn(f"no other programs are measured: {error}", stacklevel=2)
            return {}
        for name, make in zip(PEERS, (_onnxruntime, _openvino), strict=True):
            try:
                call = make(file, x)
                call()
            except Exception as error:  # of each its own kinds
                warnings.warn(f"{name} is not measured: {error}", stacklevel=2)
            else:
                found[name] = call
    return found


def _onnxruntime(file: Path, x: Tensor) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: torch.from_numpy(session.run(None, given)[0])


def _openvino(file: Path, x: Tensor) -> Call:
    import openvino

    core = openvino.Core()
    network = core.read_model(file)
    network.reshape(list(x.shape))
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(network, "CPU", settings)
    return lambda: torch.from_numpy(compiled(x.numpy())[0])
