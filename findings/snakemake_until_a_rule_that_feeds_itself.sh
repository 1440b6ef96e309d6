#!/usr/bin/env bash
# snakemake --until RULE (Snakemake 9.15.0) makes the first files of a rule whose jobs depend on each other, and no more.
#
# Expected: "--until network" runs the workflow up to and with all jobs of the rule `network` that the target needs.
# Seen: a network that starts from another network of the same rule is left out, and so is all that comes after it. The
# run ends with status 1 and "BUG: Out of jobs ready to be started, but not all files built yet", when hours of work on
# the first networks are done. A file asked for by name is made with all that it starts from, and so are the files of a
# rule written as a target of its own; --omit-from with the rule after it does what --until was meant to do.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check snakemake==9.15.0
cd "$folder"
cat >Snakefile <<'SMK'
FROM = {"base": [], "second": ["base.net"], "third": ["second.net"]}

rule report:
    input: "base.net", "third.net"
    output: "report.txt"
    shell: "cat {input} >{output}"

rule networks:
    input: "base.net", "third.net"

rule network:
    output: "{name}.net"
    input: lambda wildcards: FROM[wildcards.name]
    shell: "echo {wildcards.name} >{output}"
SMK
made() {
    rm -f ./*.net report.txt
    local status=0
    "$folder/env/bin/snakemake" --quiet all --cores 1 "$@" >/dev/null 2>&1 || status=$?
    echo "$*: exit status $status, made" $(ls | grep -E 'net$|txt$')
}
{
    made --until network
    made third.net
    made networks
    made --omit-from report
} | tee output.log
diff output.log - <<'OUT'
--until network: exit status 1, made base.net
third.net: exit status 0, made base.net second.net third.net
networks: exit status 0, made base.net second.net third.net
--omit-from report: exit status 0, made base.net second.net third.net
OUT
