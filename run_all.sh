#!/usr/bin/env bash
# From a fresh clone to trained networks, tables and figures: sets up an environment where none is active, then runs the
# notebooks in order (lib/demoe/app/runner.py). Works from any folder.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: run_all.sh [--profile test|smoke|cpu|quick|paper] [--only NN,NN] [--data-root DIR] [--sharp-images DIR]
                  [--minutes M] [--compact] [--fresh]

Train, evaluate, and write every table and figure, by running the notebooks in order.

  --profile NAME   how much is computed (default: $DEMOE_PROFILE, else smoke)
                     test   seconds a notebook, to see that everything runs
                     smoke  a laptop: 2 cores, no GPU
                     cpu    hours on a machine without a GPU
                     quick  one GPU
                     paper  the paper's sizes: several GPUs and the real datasets
  --only NN,NN     these notebooks only, by number: --only 01,04
  --data-root DIR  folder of the real datasets, or a TOML file that names one for each (default: $DEMOE_DATA_ROOT, else
                   data.toml here, else synthetic data)
  --sharp-images DIR
                   sharp photographs to make the synthetic sets from (default: $DEMOE_SHARP_IMAGES, else bundled ones)
  --minutes M      train for M minutes, the most valuable networks first, save everything and stop; the same command
                   goes on from there, also on another machine to which results/<profile> was copied
  --compact        with --minutes: what is unfinished is kept in half precision, without the optimiser's memory
  --fresh          first forget the profile's executed notebooks, trained networks and cache
  --help           this text

Results go to results/<profile>/ and figures/<profile>/. A notebook that is up to date is skipped: a run that was stopped,
or failed, continues where it was when the same command is given again. An active virtual or conda environment is used
(and installed into, once); otherwise .venv/ is made.
TEXT
}

arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --fresh | --compact | --profile=* | --only=* | --data-root=* | --sharp-images=* | --minutes=*) shift ;;
        --profile | --only | --data-root | --sharp-images | --minutes)
            if [ $# -lt 2 ]; then echo "run_all.sh: $1 needs a value" >&2; exit 2; fi
            shift 2 ;;
        *) echo "run_all.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
    esac
done

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/environment.sh"
export DEMOE_HOME="$ROOT"
exec "$PYTHON" -m demoe.app.runner ${arguments[@]+"${arguments[@]}"}
