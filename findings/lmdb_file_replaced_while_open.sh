#!/usr/bin/env bash
# lmdb 3.0.0 (Python) refuses a database file that was replaced in its folder while the earlier one is open.
#
# Expected: lmdb.open of a folder opens the file that lies in it. Where data.mdb was renamed over, as downloads that are
# written whole do, it is another file (another inode) than the one that is open, and can be opened beside it; 1.6.2 does.
# Seen: 3.0.0 remembers folders, not files: "already open in this process", although nobody has the new file open, and
# the environment that is open still reads the file that no longer has a name. After it is closed the new file opens.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 1.6.2 3.0.0; do
    python3 -m venv "$folder/env-$version"
    "$folder/env-$version/bin/pip" install --quiet --disable-pip-version-check "lmdb==$version"
    "$folder/env-$version/bin/python" - "$folder/$version" <<'PY'
import sys
from pathlib import Path

import lmdb


def write(name, value):
    with lmdb.open(str(name)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"picture", value)


def read(environment):
    with environment.begin() as transaction:
        return transaction.get(b"picture").decode()


def opened(folder):
    try:
        return lmdb.open(str(folder), readonly=True, lock=False)
    except lmdb.Error as error:
        print(lmdb.__version__, "beside the earlier one:", type(error).__name__, "already open" in str(error))


root = Path(sys.argv[1])
root.mkdir()
write(root / "used", b"earlier")
write(root / "fetched", b"new")
before = opened(root / "used")
(root / "fetched" / "data.mdb").replace(root / "used" / "data.mdb")
if beside := opened(root / "used"):
    print(lmdb.__version__, "beside the earlier one:", read(beside))
    beside.close()
print(lmdb.__version__, "the earlier one:", read(before))
before.close()
print(lmdb.__version__, "after closing it:", read(opened(root / "used")))
PY
done | tee "$folder/output"
diff "$folder/output" - <<'OUT'
1.6.2 beside the earlier one: new
1.6.2 the earlier one: earlier
1.6.2 after closing it: new
3.0.0 beside the earlier one: Error True
3.0.0 the earlier one: earlier
3.0.0 after closing it: new
OUT
