"""Write the README's sections of numbers from the published tables: python scripts/update_readme.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from benchmarks.readme import readme_block
from demoe.core.files import project_root, published_dir, write_text
from demoe.core.markdown import markdown_table
from demoe.core.paper import published
from demoe.models.complexity import readable
from demoe.report import release_report
from demoe.report.comparison_report import in_table_1
from demoe.report.similarity_claims import side_by_side
from demoe.report.tables import BELOW, NONE, PSNR_AND_SSIM, by_set, harm, interval, number, our_cell

CHOOSERS = (
    "input",
    "baseline",
    "DeMoE k=1",
    "DeMoE k=5",
    "DeMoE manual",
    "entropy gate",
    "distance gate",
    "sharpest candidate",
    "oracle",
)
ORDERS = {"router": "router's choice", "by hand": "expert by hand"}
PAPER_ROWS = {"NAFNet": "paper: NAFNet", "DeMoE_k1": "paper: DeMoE k=1"}


def results(profile: str = "smoke") -> str:
    """The section for one profile: our table, the router, and the paper's rows in a table of their own."""
    tables = published_dir(profile) / "tables"
    summary, routing = pd.read_csv(tables / "04_summary.csv"), pd.read_csv(tables / "04_routing.csv")
    origin = json.loads((tables / "04_summary.json").read_text())
    costs = pd.read_csv(tables / "01_costs.csv")
    agree = (readable(costs)["MACs, difference"] == "+0.00").sum()
    ours = markdown(by_set(summary), PSNR_AND_SSIM)
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
    ledger, longer = (_ledger(name) for name in (profile, "cpu"))
    here, there = (table.here[table.here != ""].value_counts() for table in (ledger, longer))
    printed = ledger["by its printed numbers"].value_counts()
    alike = markdown(side_by_side(pd.read_csv(tables / "03_summary.csv")), "Pearson's r, mean over layers")
    return f"""Profile {profile}, **synthetic** test sets of {pairs} pictures each, seed {origin["seed"]},
commit `{origin["commit"]}`, {origin["hardware"]}
(tables and executed notebooks in `results/published/{profile}/`; all on one page, to download and open:
`results/published/{profile}/report.html`).

Of {len(ledger)} sentences of the papers {here.get("holds", 0)} hold here, {here.get("fails", 0)} fail and
{here.get("undecided", 0)} are undecided, above all because networks trained for minutes do not restore beyond the
untouched input once the dark LOLBlur-syn is left out: nothing follows then. In profile cpu, trained for hours and
tested on 250 pictures a set, {there.get("holds", 0)} hold, {there.get("fails", 0)} fail and {there.get("undecided", 0)}
are undecided (`results/published/cpu/tables/14_ledger.csv`). By their own printed numbers alone
{printed.get("holds", 0)} hold and {printed.get("fails", 0)} fail (notebook `14`).

{seeds()}

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

{comparison(tables)}

{outside(tables)}

{variants(tables)}

What the paper reports on the **real** sets (width 32, 800 epochs); another experiment, here only to know what to
expect:

{theirs}
"""


def seeds(profile: str = "cpu") -> str:
    """What several trainings of each ablation show that one hides."""
    tables = published_dir(profile) / "tables"
    every = pd.concat([pd.read_csv(tables / f"{name}.csv") for name in ("04_figure_6", "08_ablations")])
    rows = every[(every.choice == "router") & (every.method != every.reference)].drop_duplicates("method")
    decided = ((rows.low_trainings > 0) | (rows.high_trainings < 0)).sum()
    apart = ((rows.low > 0) | (rows.high < 0)).sum()
    paper = every.paper_difference[every.paper_difference.abs() > 0].abs()
    return f"""In profile {profile} the ablations are trained from {rows.trainings.min()} seeds each. Over the test
pictures, {apart} of {len(rows)} differences to the reference have a 95 % interval that leaves zero out; over the
trainings, {decided}: the average PSNR of one variant spreads by {every.spread.min():.2f} to {every.spread.max():.2f} dB
from seed to seed (standard deviation). The paper's differences of these rows are {paper.min():.2f} to
{paper.max():.2f} dB, and it does not say of how many trainings."""


def _ledger(profile: str) -> pd.DataFrame:
    return pd.read_csv(published_dir(profile) / "tables" / "14_ledger.csv", keep_default_na=False)


def comparison(tables: Path) -> str:
    """Table 1: averages over the five sets, ours and the paper's in columns of their own; what this profile does not
    train has the paper's numbers alone."""
    methods, summary = pd.read_csv(tables / "05_methods.csv"), pd.read_csv(tables / "05_summary.csv")
    means = summary.pivot(index=["method", "set"], columns="metric", values="mean")
    mean = means.xs("Average", level="set")
    sets = summary[(summary.metric == "psnr") & ~summary.set.str.startswith(("Average", "LOLBlur"))]
    others = sets.groupby("method")["mean"].mean()  # brightness decides on LOLBlur, and LOLBlur on the average
    paper = (
        published().query("table == 'table1_aio'").pivot(index="method", columns=["dataset", "metric"], values="value")
    )
    untouched = methods.set_index("role").method["input"]
    rows, longer = {}, methods.role.isin(["NAFNet longer", "NAFNet as long", "DeMoE longer k=1", "DeMoE*"])
    shown = methods[methods.group.isin(["input", "equal length"]) | longer].fillna({"missing": ""})
    for one in in_table_1(shown).itertuples():
        theirs, here = paper.loc[one.theirs] if one.theirs in paper.index else None, one.method in mean.index
        rows[one.method] = {
            "training": ("-" if one.role == "input" else one.training) if here else one.missing,
            "parameters here": f"{one.params / 1e6:.2f} M" if one.params > 0 else "-",
            "here (-syn)": our_cell(means, one.method, "Average", ("psnr", "ssim"), untouched) if here else "-",
            "without LOLBlur-syn": number(others[one.method]) + harm(others[one.method], others[untouched])
            if here
            else "-",
            "paper: parameters": "-" if theirs is None else f"{theirs['-', 'params_m']:.2f} M",
            "paper (real)": "-"
            if theirs is None
            else f"{theirs['Average', 'psnr']:.2f} / {theirs['Average', 'ssim']:.3f}",
        }
    table = markdown(pd.DataFrame(rows).T, f"average {PSNR_AND_SSIM}")
    return f"""The networks of Table 1 on the same data (notebook `05`). Those of others are slimmed, and compare only
with a NAFNet and a DeMoE of the same short length; where they could decide nothing they are not trained:

{table}"""


def outside(tables: Path) -> str:
    """Who chooses the expert, outside the training sets: gains over the router's own choice, with intervals."""
    rows = pd.read_csv(tables / "06_comparison.csv").query("group == 'outside' and set == 'Average'")
    psnr = rows[rows.quantity == "psnr"].set_index("method")["mean"]
    gain = rows[rows.quantity == "gain"].set_index("method")
    inside = (
        pd.read_csv(tables / "06_comparison.csv")
        .query("group == 'inside' and set == 'Average' and quantity == 'gain'")
        .set_index("method")
    )
    names = [name for name in CHOOSERS if name in psnr.index]
    table = pd.DataFrame(
        {
            f"PSNR (dB; {BELOW}: below the input's {psnr['input']:.2f}), RealDOF-syn and RSBlur-syn": {
                name: number(psnr[name]) + harm(psnr[name], psnr["input"]) for name in names
            },
            "over k=1 there [95 %]": {name: interval(gain.loc[name], 3) for name in names},
            "pictures with another choice": {name: changed(gain.loc[name]) for name in names},
            "over k=1 on the five sets [95 %]": {name: interval(inside.loc[name], 3) for name in names},
        }
    )
    return f"""Outside the training sets, where the paper's router fails and its manual choice gains 8.30 dB on the
real RSBlur (notebook `06`; the oracle takes the best expert of each picture, the three rules need no label):

{markdown(table, "who chooses")}"""


def variants(tables: Path) -> str:
    """Ablations: is the order of rows the paper's; and TLC's average gain."""
    orders = pd.concat([pd.read_csv(tables / f"{name}.csv") for name in ("04_figure_6_order", "08_orders")])
    rows: dict[str, dict[str, str]] = {}
    for one in orders.itertuples():
        found = rows.setdefault(one.table.removesuffix(", expert by hand"), {"rows": str(one.rows)})
        found[f"rho, {ORDERS[one.choice]}"] = f"{number(one.rho, 2, True)} (p {one.p:.3f})"
        found[f"without LOLBlur, {ORDERS[one.choice]}"] = f"{number(one.rho_bright, 2, True)} (p {one.p_bright:.3f})"
    basis = pd.read_csv(tables / "08_scores.csv").query("method == 'ablation-demoe' and choice == 'router'")
    gains = pd.read_csv(tables / "09_gains.csv").query("set == 'Average' and metric == 'psnr'").set_index("network")
    tlc = " and ".join(
        f"{interval(gains.loc[name], 3)} dB on {name.split()[0]}" for name in ("NAFNet with TLC", "DeMoE with TLC")
    )
    return f"""The ablations, each row trained once and briefly (notebooks `04` and `08`): how far the order of the rows
here follows the paper's (Spearman); rows that would decide nothing at this size are not trained. The router that most
share is right on {basis.right.mean():.0%} of the test pictures, and at k=1 its choices enter the scores; with the
expert chosen by hand, networks alone are compared. The p values are not corrected for the number of tables.

{markdown(pd.DataFrame(rows).T, "order of rows, here and in the paper")}

TLC on pictures larger than the training crops changes the average PSNR by
{tlc}; in the paper by -0.12 and -0.09 dB (notebook `09`)."""


def changed(row: pd.Series) -> str:
    """ "5 of 48"; "-" for what chooses no expert."""
    if pd.isna(row.changed) or row.name in ("input", "baseline"):
        return "-"
    return f"{row.changed:.0f} of {row.pictures:.0f}"


def markdown(table: pd.DataFrame, corner: str) -> str:
    """A Markdown table with the index as its first column, which is headed ``corner``."""
    return markdown_table(table.rename_axis(corner))


def released(profile: str = "cpu") -> str:
    """The network that comes with the package: our table and the paper's, the router, the experts."""
    tables = published_dir(profile) / "tables"

    def read(name: str) -> pd.DataFrame:
        return pd.read_csv(tables / f"{name}.csv")

    origin = json.loads((tables / "10_summary.json").read_text())
    quality = release_report.quality(read)
    here, paper = (quality.xs(side, axis=1, level=1) for side in ("here", "paper (real)"))
    routing = read("10_routing")
    return f"""{len(routing)} pictures with synthetic blur, made from photographs that training has not seen; commit
`{origin["commit"]}`, {origin["hardware"]} (notebook `10`, tables in `results/published/{profile}/`):

{markdown(here, PSNR_AND_SSIM)}

{markdown(release_report.differences(read), "difference in PSNR (dB) [95 %]")}

The router names the right blur on {routing.correct.mean():.1%} of them. The paper, on the **real** sets with width 32:

{markdown(paper[(paper != NONE).any(axis=1)], "real sets")}
"""


SECTIONS = {"results": results, "released": released, "speed": readme_block}

README = project_root() / "README.md"


def page() -> str:
    """The README with its sections of numbers as the published tables have them now."""
    text = README.read_text(encoding="utf-8")
    for name, write in SECTIONS.items():
        section = f"<!-- {name}: scripts/update_readme.py writes this -->\n{write().rstrip()}\n<!-- end of {name} -->"
        text = re.sub(rf"<!-- {name}:.*?<!-- end of {name} -->", lambda _, new=section: new, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    write_text(README, page())
