import io
import pickle
import sys

import pandas as pd
import pytest
import torch
from torch import nn

from demoe.models import complexity
from demoe.models.comparators import PromptIR, PromptIRConfig
from demoe.models.complexity import COST_ROWS, cost_table, count, measure_runtime, print_costs, runtime_table
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.models.sfhformer import SFHFormer, SFHFormerConfig

SMALL = DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))
SMALL_NAFNET = NAFNetConfig(4, (1, 1), 1, (1, 1))
SPANDREL = ("spandrel_extra_arches.architectures.Restormer", "spandrel.architectures.FFTformer")

# What the public blocks reach, to the digits that the paper prints.
EXPECTED = {
    ("Table 1", "PromptIR"): ("35.59", "158.4"),
    ("Table 1", "Restormer"): ("26.13", "141.24"),
    ("Table 1", "FFTFormer"): ("16.56", "131.75"),
    ("Table 1", "SFHFormer"): ("7.67", "52.32"),
    ("Table 1", "NAFNet"): ("10.08", "11.02"),
    ("Table 1", "DeMoE k=1"): ("20.15", "11.05"),
    ("Table 5", "baseline, no classification loss"): ("10.08", "11.02"),
    ("Table 5", "baseline, original architecture"): ("22.07", "20.37"),
    ("Table 5", "baseline, classification loss"): ("10.08", "11.02"),
    ("Table 5", "more middle NAFBlocks"): ("38.67", "15.11"),
    ("Table 5", "more MoEBlocks"): ("32.54", "13.18"),
    ("Table 5", "width 64"): ("79.71", "42.77"),
    ("Table 7", "DarkIR experts"): ("21.90", "10.74"),  # the paper's 11.05 G is not reproduced
    ("Table 7", "wavelet experts"): ("101.89", "14.64"),
    ("Table 7", "Restormer experts"): ("29.06", "13.25"),
    ("Table 7", "PLK experts"): ("119.64", "30.46"),
    ("Table 7", "NAFBlock experts (DeMoE)"): ("20.15", "11.05"),
}


def of_zeros(x, weight, *options, real=nn.functional.conv2d, **more):
    """The convolution with the zero weights and biases that ``cost_table`` gives its networks, without computing it."""
    assert x.is_meta or not weight.any()
    return x.new_zeros(real(x.to("meta"), weight.to("meta"), None, *options[1:], **more).shape)


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nn.functional, "conv2d", of_zeros)
        return cost_table(progress=False)


def test_the_17_rows(table):
    assert len(table) == 17
    assert list(zip(table["table"], table["row"], strict=True)) == list(EXPECTED)
    assert list(table.columns[:6]) == ["table", "row", "params", "macs", "paper_params_m", "paper_macs_g"]


def test_every_row_agrees_to_the_printed_digit(table):
    pytest.importorskip("spandrel_extra_arches")
    for record in table.itertuples():
        for ours, printed, unit in zip(
            (record.params, record.macs), EXPECTED[record.table, record.row], (1e6, 1e9), strict=True
        ):
            digits = len(printed.partition(".")[2])
            assert f"{ours / unit:.{digits}f}" == printed, record


def test_the_papers_numbers_are_those_expected(table):
    for record in table.itertuples():
        params, macs = map(float, EXPECTED[record.table, record.row])
        assert record.paper_params_m == params
        if record.row == "DarkIR experts":
            assert record.paper_macs_g == 11.05
            assert "not reproduced" in record.note
        else:
            assert record.paper_macs_g == macs
        assert record.paper_runtime_ms > 0


def test_csv_holds_whole_counts(table):
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    counted = table["params"].notna()
    assert again.loc[counted, "params"].tolist() == table.loc[counted, "params"].tolist()
    assert "e+" not in table.to_csv(index=False)


def test_count_of_a_convolution():
    conv = nn.Conv2d(6, 8, (3, 5), stride=2, padding=(1, 2), groups=2)
    params = 8 * (6 // 2) * 3 * 5 + 8
    assert count(conv, (6, 10, 14)) == (params, params * 5 * 7)  # every weight and bias once an output pixel


def test_count_of_a_linear_layer():
    assert count(nn.Linear(7, 3), (11, 7)) == (7 * 3 + 3, 11 * (7 * 3 + 3))


def test_frozen_parameters_count():
    conv = nn.Conv2d(2, 3, 1)
    assert count(conv.requires_grad_(False), (2, 4, 4))[0] == 9


def test_arithmetic_is_free():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return torch.mul(self.conv(x), x) + x * x

    assert count(Product(), (3, 4, 5)) == count(nn.Conv2d(3, 3, 1), (3, 4, 5))


def test_the_model_comes_back_as_it_was():
    model = DeMoE(SMALL).train()
    model.encoders[0].eval()
    modes = [module.training for module in model.modules()]
    attributes = [sorted(vars(module)) for module in model.modules()]
    first = count(model, (3, 21, 30))
    assert [module.training for module in model.modules()] == modes
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    assert not any(module._forward_hooks for module in model.modules())
    pickle.dumps(model)
    assert count(model, (3, 21, 30)) == first


@pytest.mark.parametrize(
    "build",
    [
        lambda: NAFNet(SMALL_NAFNET),
        lambda: PromptIR(PromptIRConfig(16, (1, 1, 1, 1), 1, prompt_channels=(8, 8, 16))),
        lambda: SFHFormer(SFHFormerConfig(4, (1, 1, 1, 1, 1))),
    ],
)
def test_meta_tensors_count_the_same(build):
    with torch.device("meta"):
        meta = build()
    assert count(meta, (3, 32, 48)) == count(build(), (3, 32, 48))


def test_a_default_device_changes_nothing():
    model = NAFNet(SMALL_NAFNET)
    expected = count(model, (3, 32, 32))
    with torch.device("cpu"):
        assert count(model, (3, 32, 32)) == expected


def test_the_number_of_unused_experts_costs_no_macs():
    few, many = (DeMoE(DeMoEConfig(4, (1,), 1, (1,), num_experts=n)) for n in (2, 5))
    (few_params, few_macs), (many_params, many_macs) = count(few, (3, 16, 16)), count(many, (3, 16, 16))
    assert many_params > few_params
    assert many_macs - few_macs < 1000  # the router's last layer


def test_what_cannot_be_counted(capsys):
    with pytest.raises(RuntimeError, match=r"Conv2d cannot be counted at \(4, 8, 8\)"):
        count(nn.Conv2d(3, 3, 1), (4, 8, 8))
    assert capsys.readouterr().out == ""
    assert count(nn.Conv2d(3, 3, 1), (3, 1, 1)) == (12, 12)  # and the counter still works


def test_missing_packages_leave_a_note(monkeypatch, capsys):
    kept = [row for row in COST_ROWS if row.row in ("Restormer", "FFTFormer", "NAFNet")]
    monkeypatch.setattr(complexity, "COST_ROWS", kept)
    for module in SPANDREL:
        monkeypatch.setitem(sys.modules, module, None)
    table = cost_table(progress=False).set_index("row")
    for row in ("Restormer", "FFTFormer"):
        assert pd.isna(table.params[row]) and pd.isna(table.macs[row])
        assert table.note[row] == "not installed: pip install -e '.[comparators]'"
    assert table.params["NAFNet"] == 10_076_675
    assert table.paper_params_m["Restormer"] == 26.13
    print_costs(table.reset_index())
    assert "Restormer: not installed: pip install -e '.[comparators]'" in capsys.readouterr().out


def test_two_runs_give_the_same_bytes(monkeypatch):
    rows = [complexity.CostRow("Table 1", "NAFNet", ("table1_aio", "NAFNet"), DeMoE, SMALL), COST_ROWS[4]]
    monkeypatch.setattr(complexity, "COST_ROWS", rows)
    torch.manual_seed(1)
    first = cost_table(progress=False).to_csv(index=False)
    torch.manual_seed(2)
    assert cost_table(progress=False).to_csv(index=False) == first


def test_printed_table(table, capsys):
    print_costs(table)
    lines = capsys.readouterr().out.splitlines()
    darkir = next(line for line in lines if "DarkIR experts" in line)
    assert darkir.split()[-6:] == ["21.90", "21.90", "+0.00", "10.74", "11.05", "-0.31"]
    assert len(lines) >= 1 + 17 + 1


def test_runtime():
    model = NAFNet(SMALL_NAFNET).train()
    assert measure_runtime(model, (3, 16, 24), repeats=2, warm_up=1) > 0
    assert model.training


def test_runtime_table(monkeypatch):
    rows = [complexity.CostRow("Table 1", name, ("table1_aio", "NAFNet"), NAFNet, SMALL_NAFNET) for name in ("a", "b")]
    rows.append(COST_ROWS[1])
    monkeypatch.setattr(complexity, "COST_ROWS", rows)
    monkeypatch.setitem(sys.modules, SPANDREL[0], None)
    times = runtime_table(repeats=1, size=(3, 16, 16), device="cpu", progress=False)
    assert times["row"].tolist() == ["a", "b", "Restormer"]
    assert times["runtime_ms"][0] == times["runtime_ms"][1] > 0  # one network, measured once
    assert pd.isna(times["runtime_ms"][2]) and "not installed" in times["note"][2]
    assert times["paper_runtime_ms"].tolist() == [8.0, 8.0, 33.2]
