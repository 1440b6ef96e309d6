#!/usr/bin/env bash
# DataFrame.to_markdown (pandas 3.1.1 through tabulate 0.10.0) changes text that looks like a number, by what stands
# beside it in the column.
#
# Expected: a column of strings is printed as the strings that it holds.
# Seen: tabulate parses the strings of a column again. A short commit hash of digits and one "e" is a number in scientific
# notation to it, and where all hashes of a column are digits or such numbers they are printed as numbers: "4126e105" as
# 4.126e+108, and the hash of digits beside it as 1.23457e+07. With another letter anywhere in the column, with digits
# alone, or with an exponent too large for a float, all stay as they are: a table looks right until the day it does not.
# Published numbers lose the zeros that say how exact they are: "25.60" becomes 25.6, and keeps its zero where "missing"
# stands in the same column. disable_numparse=True, which to_markdown hands on to tabulate, prints the strings.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 tabulate==0.10.0
"$folder/env/bin/python" - <<'PY' | tee "$folder/output"
import pandas as pd


def show(cells, **options):
    lines = pd.DataFrame({"column": cells}).to_markdown(index=False, **options).splitlines()[2:]
    print(cells, "->", [line.strip("| ") for line in lines], *options)


show(["4126e105", "12345678"])
show(["4126e105", "00412345"])
show(["4126e105", "5bbd827f"])
show(["00412345", "12345678"])
show(["1e400111", "12345678"])
show(["25.60", "30.10"])
show(["25.60", "30.10", "missing"])
show(["4126e105", "00412345"], disable_numparse=True)
PY
diff "$folder/output" - <<'OUT'
['4126e105', '12345678'] -> ['4.126e+108', '1.23457e+07']
['4126e105', '00412345'] -> ['4.126e+108', '412345']
['4126e105', '5bbd827f'] -> ['4126e105', '5bbd827f']
['00412345', '12345678'] -> ['00412345', '12345678']
['1e400111', '12345678'] -> ['1e400111', '12345678']
['25.60', '30.10'] -> ['25.6', '30.1']
['25.60', '30.10', 'missing'] -> ['25.60', '30.10', 'missing']
['4126e105', '00412345'] -> ['4126e105', '00412345'] disable_numparse
OUT
