#!/usr/bin/env bash
# Everything that only a GPU can tell, within 8 minutes: tests, compute-sanitizer, speed.   scripts/gpu_check.sh [OUT_FOLDER]
#   OUT_FOLDER (runs/gpu_check)   gpu_check.txt, a table; gpu_check.json, everything; log.txt, all output
#   PYTHON=python3                a Python with cupy, numba-cuda, numba, numpy, mpi4py, pytest; deshpc is used from here
#   PARTS="environment tests kernels steps sanitizer peers";  TESTS=tests/cuda;  SCALE=full;  REPEATS=20;  VARIANT="FM, ordered"
#   PARTS="steps peers"           deshpc's steps beside PyTorch's and FBGEMM's, which take long to compile, by themselves
#   DEVICE=executor SCALE=tiny    the same without a GPU: shows that the script works, measures nothing
# Exit code: 0 if all parts succeed: a test that is skipped, or a part that is over its time, is a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-runs/gpu_check}
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
scale=${SCALE:-full}
parts=${PARTS:-environment tests kernels steps sanitizer peers}
whole=470  # seconds
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$PWD/src:$PWD/scripts/bench${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
: > "$folder/status.tsv"
: > "$out/log.txt"

# part NAME LIMIT COMMAND ...   run a part in at most LIMIT seconds, and in no more than is left of the whole
part() {
    local name=$1 limit=$2 left=$((whole - SECONDS)) begin=$SECONDS code
    shift 2
    [ "$limit" -le "$left" ] || limit=$((left > 5 ? left : 5))
    echo "== $name" | tee -a "$out/log.txt"
    timeout -k 5 "$limit" "$@" 2>&1 | tee "$folder/$name.txt" | tee -a "$out/log.txt"
    code=${PIPESTATUS[0]}
    printf '%s\t%s\t%s\t%s\n' "$name" "$code" $((SECONDS - begin)) "$limit" >> "$folder/status.tsv"
}

sanitizer() {
    local found
    for found in "$(command -v compute-sanitizer)" "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" \
        "${CUDA_HOME:-/usr/local/cuda}/compute-sanitizer/compute-sanitizer"; do
        [ ! -x "$found" ] || { echo "$found"; return; }
    done
}

for name in $parts; do
    case $name in
        environment)
            part environment 40 "$python" -c "
import sys
from gpu_device import environment, open_bench, save
found = environment(open_bench(sys.argv[1]))
save(sys.argv[2], found)
print('\n'.join(f'{name}: {value}' for name, value in found.items()))" "$device" "$folder/environment.json" ;;
        tests)
            part tests 140 "$python" scripts/bench/gpu_tests.py --device "$device" --tests "${TESTS:-tests/cuda}" --limit 130 \
                --out "$folder/tests.json" ;;
        kernels)
            part kernels 100 "$python" scripts/bench/gpu_kernels.py --device "$device" --scale "$scale" \
                --repeats "${REPEATS:-20}" --out "$folder/kernels.json" ;;
        steps)
            part steps 100 "$python" scripts/bench/gpu_steps.py --device "$device" --scale "$scale" --of deshpc \
                ${VARIANT:+--only "$VARIANT"} --out "$folder/steps.json" ;;
        peers)
            part peers 400 "$python" scripts/bench/gpu_steps.py --device "$device" --scale "$scale" --of peers \
                ${VARIANT:+--only "$VARIANT"} --out "$folder/peers.json" ;;
        sanitizer)
            program=$(sanitizer)
            for tool in memcheck racecheck initcheck synccheck; do
                models=("FM, ordered" "FM, atomic")
                [ "$tool" = initcheck ] || models+=(deepfm xdeepfm)  # a library's kernels may read what nobody has written
                if [ -z "$program" ] || [ "$device" != cuda ]; then
                    part "sanitizer-$tool" 5 sh -c 'echo "compute-sanitizer is not there, or nothing that it could watch"; exit 3'
                else
                    part "sanitizer-$tool" 40 "$program" --tool "$tool" --error-exitcode 9 --print-limit 20 \
                        "$python" scripts/bench/gpu_steps.py --device cuda --scale tiny --of deshpc --no-pool --only "${models[@]}"
                fi
            done ;;
        *) echo "scripts/gpu_check.sh: $name is no part" >&2; exit 2 ;;
    esac
done
"$python" scripts/bench/gpu_report.py "$folder" "$out"
