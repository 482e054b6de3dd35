#!/usr/bin/env bash
# A chain of days, a job for each: a day's job waits until that of the day before has ended well.  From the repository's folder, on a
# login node:
#   slurm/days.sh CONFIG.toml runs/daily data/2026-01-05 data/2026-01-06 ...
# Every day goes on with the chain in runs/daily (docs/daily.md): scored first, learnt, saved, exported.  Days may be added later by the
# same command with the new ones behind the old: those that are done are passed over.  CHANGE what a job gets in the line `sbatch`.
set -euo pipefail
config=$1 run=$2
shift 2
options=(--nodes=1 --ntasks-per-node=2 --cpus-per-task=8 --mem=0 --time=04:00:00)   # CHANGE
read -r -a more <<< "${SBATCH_MORE:-}"
before=""
days=()
for day in "$@"; do
    days+=(--days "$day")
    name=$(basename "$day")       # a file's day is named without .csv and the like
    # models of older days are removed, records stay
    grep -qs '^{"event": "result"' "$run/days/$name/record.jsonl" "$run/days/${name%%.*}/record.jsonl" && continue
    before=$(RUN=$run sbatch --parsable --job-name="day-$name" --kill-on-invalid-dep=yes ${before:+--dependency=afterok:$before} \
        "${options[@]}" "${more[@]}" slurm/requeue.sbatch "$config" "${days[@]}")
    echo "$day: job $before"
done
