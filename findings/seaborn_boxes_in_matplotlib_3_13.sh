#!/usr/bin/env bash
# seaborn 0.13.2, its newest release, draws boxes by an argument that Matplotlib 3.11 deprecates and 3.13 takes away.
#
# Expected: the newest seaborn and the newest Matplotlib go together; a package that asks for "seaborn" and "matplotlib"
# without upper bounds goes on working.
# Seen: seaborn.boxplot and catplot(kind="box") hand `vert=` to Axes.bxp, whatever the direction of the boxes: a
# MatplotlibDeprecationWarning in 3.11, which says that 3.13 removes it. Violins, letter-value boxes, bars, points,
# histograms, lines and heat maps do not warn. seaborn.objects, on its side, copies with an argument that pandas 4
# takes away. So of all plots the one for distributions is the one that will stop; Axes.boxplot(orientation=...) stays.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check seaborn==0.13.2 matplotlib==3.11.2 pandas==3.1.1
MPLBACKEND=Agg "$folder/env/bin/python" - <<'PY' | tee "$folder/output"
import warnings

import matplotlib.pyplot as plt
import pandas as pd
import seaborn
import seaborn.objects

table = pd.DataFrame({"set": ["GoPro", "DPDD"] * 8, "step": [*range(8)] * 2, "psnr": [24 + i % 5 for i in range(16)]})
square = table.pivot_table(index="set", columns="step", values="psnr")
names = "boxplot violinplot boxenplot barplot pointplot stripplot".split()
calls = {name: lambda name=name: getattr(seaborn, name)(table, x="set", y="psnr") for name in names}
calls |= {
    "boxplot, lying": lambda: seaborn.boxplot(table, x="psnr", y="set"),
    "catplot, box": lambda: seaborn.catplot(table, x="set", y="psnr", kind="box"),
    "histplot": lambda: seaborn.histplot(table, x="psnr", hue="set", kde=True),
    "lineplot": lambda: seaborn.lineplot(table, x="step", y="psnr", hue="set"),
    "heatmap": lambda: seaborn.heatmap(square),
    "objects": lambda: seaborn.objects.Plot(table, x="step", y="psnr").add(seaborn.objects.Line()).plot(),
}
for name, call in calls.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
        plt.close("all")
    said = sorted({f"{warning.category.__name__}: {str(warning.message).split('. ')[0]}" for warning in caught})
    print(f"{name}:", *said or ["no warning"])
PY
diff "$folder/output" - <<'OUT'
boxplot: MatplotlibDeprecationWarning: vert: bool was deprecated in Matplotlib 3.11 and will be removed in 3.13
violinplot: no warning
boxenplot: no warning
barplot: no warning
pointplot: no warning
stripplot: no warning
boxplot, lying: MatplotlibDeprecationWarning: vert: bool was deprecated in Matplotlib 3.11 and will be removed in 3.13
catplot, box: MatplotlibDeprecationWarning: vert: bool was deprecated in Matplotlib 3.11 and will be removed in 3.13
histplot: no warning
lineplot: no warning
heatmap: no warning
objects: Pandas4Warning: The copy keyword is deprecated and will be removed in a future version
OUT
