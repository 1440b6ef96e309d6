#!/usr/bin/env bash
# From a fresh clone to trained networks, tables and figures: sets up an environment where none is active, then has
# Snakemake train the networks and run the notebooks (workflow/README.md). Works from any folder.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: run_all.sh [--profile test|smoke|cpu|quick|paper|real] [--only NN,NN] [--data-root DIR] [--sharp-images DIR]
                  [--fresh] [--anew] [-- OPTIONS OF SNAKEMAKE]

Train, evaluate, and write every table and figure, by training networks and running the notebooks that load them.

  --profile NAME   how much is computed (default: $DEMOE_PROFILE, else smoke)
                     test   seconds a notebook, to see that everything runs
                     smoke  a laptop: 2 cores, no GPU
                     cpu    hours on a machine without a GPU
                     quick  one GPU
                     paper  the paper's sizes: several GPUs and the real datasets
                     real   on from cpu, for photographs: one random camera for all kinds of blur
  --only NN,NN     these notebooks only, by number, and the networks that they load: --only 01,04
  --data-root DIR  folder of the real datasets, or a TOML file that names one for each (default: $DEMOE_DATA_ROOT, else
                   data.toml here, else synthetic data)
  --sharp-images DIR
                   sharp photographs to make the synthetic sets from (default: $DEMOE_SHARP_IMAGES, else bundled ones)
  --fresh          first forget the profile's executed notebooks, trained networks and cache
  --anew           train also the networks that come with the package (profile cpu's baseline and demoe)
  --help           this text
  -- OPTIONS       go to Snakemake: -- --dry-run, or -- --executor slurm --jobs 39 (workflow/README.md)

Results go to results/<profile>/ and figures/<profile>/. What is up to date is skipped: a run that was stopped, or failed,
continues where it was when the same command is given again. An active virtual or conda environment is used (and
installed into, once); otherwise .venv/ is made.
TEXT
}

arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --) break ;;
        --fresh | --anew | --profile=* | --only=* | --data-root=* | --sharp-images=*) shift ;;
        --profile | --only | --data-root | --sharp-images)
            if [ $# -lt 2 ]; then echo "run_all.sh: $1 needs a value" >&2; exit 2; fi
            shift 2 ;;
        *) echo "run_all.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
    esac
done

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/environment.sh"
export DEMOE_HOME="$ROOT"
exec "$PYTHON" "$ROOT/workflow/run.py" ${arguments[@]+"${arguments[@]}"}
