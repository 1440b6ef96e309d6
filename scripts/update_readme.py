"""Write the results section of README.md from the committed tables: python scripts/update_readme.py."""

from __future__ import annotations

import json
import re

import pandas as pd

from demoe.model.complexity import readable
from demoe.paths import project_root, results_dir, write_text
from demoe.report.paper import published
from demoe.report.similarity_claims import side_by_side
from demoe.report.tables import by_set

PAPER_ROWS = {"NAFNet": "paper: NAFNet", "DeMoE_k1": "paper: DeMoE k=1"}


def results(profile: str = "smoke") -> str:
    """The section for one profile: our table, the router, and the paper's rows in a table of their own."""
    tables = results_dir(profile) / "tables"
    summary, routing = pd.read_csv(tables / "04_summary.csv"), pd.read_csv(tables / "04_routing.csv")
    origin = json.loads((tables / "04_summary.json").read_text())
    costs = pd.read_csv(tables / "01_costs.csv")
    agree = (readable(costs)["MACs, difference"] == "+0.00").sum()
    ours = markdown(by_set(summary), "PSNR (dB) / SSIM")
    pairs = summary[summary.set != "Average"].groupby("set").images.first().iloc[0]
    paper = published().query("table == 'table1_aio' and metric in ['psnr', 'ssim']")
    paper = paper.pivot(index="method", columns=["dataset", "metric"], values="value")
    columns = ["RealBlur", "ReLoBlur", "DPDD", "LOLBlur", "GoPro", "Average"]
    rows = {
        label: {
            name: f"{paper.loc[key, (name, 'psnr')]:.2f} / {paper.loc[key, (name, 'ssim')]:.3f}" for name in columns
        }
        for key, label in PAPER_ROWS.items()
    }
    theirs = markdown(pd.DataFrame(rows).T[columns], "real sets")
    strength, separable = pd.read_csv(tables / "02_calibration.csv"), pd.read_csv(tables / "02_separability.csv")
    best = separable.iloc[0]
    alike = markdown(side_by_side(pd.read_csv(tables / "03_summary.csv")), "Pearson's r, mean over layers")
    return f"""Profile {profile}, **synthetic** test sets of {pairs} pictures each, seed {origin["seed"]},
commit `{origin["commit"]}`, {origin["hardware"]}
(tables and executed notebooks in `results/{profile}/`):

{ours}

The router names the right blur on {routing.correct.mean():.1%} of these test pictures (paper: over 95 % on the real
sets).
Of the 17 published cost rows, {agree} are reproduced in MACs to the printed digit (`demoe cost`).
{strength.within.sum()} of {len(strength)} measurements of the synthetic sets' input PSNR lie within
{strength.tolerance.iloc[0]:.1f} dB of their target. Five nearest neighbours in the features of Figure 4
({best.features}) name the right one of eight test sets for {best.knn:.0%} of the pictures; with
shuffled names, {best.knn_shuffled:.0%}.

How alike the weights of task-specific networks are, with the controls that the paper lacks (notebook `03` says what
each comparison tells):

{alike}

What the paper reports on the **real** sets (width 32, 800 epochs); another experiment, here only to know what to
expect:

{theirs}
"""


def markdown(table: pd.DataFrame, corner: str) -> str:
    """A Markdown table with the index as its first column."""
    lines = [[corner, *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    readme = project_root() / "README.md"
    section = f"<!-- results: scripts/update_readme.py writes this -->\n{results()}<!-- end of results -->"
    text = readme.read_text(encoding="utf-8")
    write_text(readme, re.sub(r"<!-- results.*?<!-- end of results -->", lambda _: section, text, flags=re.DOTALL))
