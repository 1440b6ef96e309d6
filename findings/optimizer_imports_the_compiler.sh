#!/usr/bin/env bash
# PyTorch 2.15.0 (torchvision 0.29.2): what brings PyTorch's compiler into a process that compiles nothing.
#
# Expected: torch._dynamo, torch._inductor and sympy are imported when torch.compile is used.
# Seen: importing torch, and a forward and a backward pass, leave them out. Making any optimiser imports them all, and so
# does importing torchvision. Both times some nine hundred modules and one to two seconds of one core, as long as importing
# torch itself took. A program that starts often (a command, a notebook, a test in a process of its own) pays for it each
# time; a library that imports torchvision for one function (ptflops does) makes all of its users pay.
#
# Output seen: the lines at the end of this file, of Python 3.11 on Linux. The seconds are not compared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 torchvision==0.29.2 numpy==2.3.5 2>/dev/null
cat >"$folder/imports.py" <<'PY'
import sys
import torch

COMPILER = ("torch._dynamo", "torch._inductor", "sympy")


def tell(what):
    there = [name for name in COMPILER if name in sys.modules]
    print(f"{what}: {', '.join(there) or 'none of them'}")


tell("import torch")
network = torch.nn.Linear(2, 1)
network(torch.ones(1, 2)).sum().backward()
tell("forward and backward")
if sys.argv[1] == "optimiser":
    before = len(sys.modules)
    torch.optim.SGD(network.parameters(), lr=0.1)
    tell("torch.optim.SGD(...)")
    print(f"more than 500 further modules: {len(sys.modules) - before > 500}")
else:
    import torchvision

    tell("import torchvision")
PY
for way in optimiser torchvision; do "$folder/env/bin/python" "$folder/imports.py" "$way"; done | tee "$folder/output"
diff "$folder/output" - <<'OUT'
import torch: none of them
forward and backward: none of them
torch.optim.SGD(...): torch._dynamo, torch._inductor, sympy
more than 500 further modules: True
import torch: none of them
forward and backward: none of them
import torchvision: torch._dynamo, torch._inductor, sympy
OUT
