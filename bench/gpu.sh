#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Does the CUDA code work on this machine's GPU, and how fast? Builds it, runs the gpu tests, runs them once more under
# compute-sanitizer, measures, and writes bench/results/gpu.json: under 8 minutes. Needs nvcc, a driver and python3.
# torch, botorch, cupy and onnxruntime-gpu are used where the python that is named has them.
#
#   bench/gpu.sh [--python PYTHON] [--json FILE] [--keep-build] [--emulated]
#
#   --python PYTHON  whose packages are seen (default python3)
#   --json FILE      where the figures go (default bench/results/gpu.json)
#   --keep-build     PYTHON itself holds the build to test: build nothing
#   --emulated       on the CPU, tiny sizes, no sanitizer: shows that this script works, and nothing about a GPU
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=python3 json="$here/bench/results/gpu.json" build=yes emulated=no

usage() { sed -n '3,12p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
refuse() { echo "gpu.sh: $*" >&2; exit 2; }

while [[ $# -gt 0 ]]; do
  case "$1" in
    --python | --json)
      [[ $# -ge 2 ]] || refuse "$1 is without a value"
      if [[ "$1" == --python ]]; then python=$2; else json=$2; fi
      shift 2
      ;;
    --keep-build) build=no; shift ;;
    --emulated) emulated=yes; shift ;;
    --help) usage; exit 0 ;;
    *) refuse "'$1' is not an option, expected --python, --json, --keep-build, --emulated or --help" ;;
  esac
done
[[ -n "$(command -v "$python")" ]] || refuse "'$python' is not there, expected a Python 3.11 or 3.12"
if [[ $emulated == no ]]; then
  [[ -n "$(command -v nvidia-smi)" ]] && nvidia-smi >/dev/null 2>&1 ||
    refuse "no NVIDIA driver answers (nvidia-smi); --emulated shows that this script works"
  [[ $build == no || -n "$(command -v nvcc)" ]] || refuse "nvcc is missing, expected the CUDA toolkit 12.4 or newer"
elif [[ "$json" == "$here/bench/results/gpu.json" ]]; then
  refuse "--emulated needs another --json: gpu.json is for a GPU"
fi

json=$(realpath -m "$json")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() { # stage NAME SECONDS COMMAND...
  local name=$1 most=$2 begun=$SECONDS
  shift 2
  [[ $emulated == no ]] || most=$((10 * most))
  if timeout "$most" "$@" >"$work/log" 2>&1; then
    printf '%-20s ok      %4d s   %s\n' "$name" $((SECONDS - begun)) "$(tail -n 1 "$work/log")"
  else
    printf '%-20s FAILED  %4d s\n' "$name" $((SECONDS - begun))
    tail -n 100 "$work/log"
    exit 1
  fi
}

if [[ $build == yes ]]; then
  "$python" -m venv --system-site-packages "$work/venv"
  python="$work/venv/bin/python"
  kind=ON targets=native # one target compiles in a third of the time
  [[ $emulated == no ]] || kind=EMULATED targets=
  stage "build" 200 "$python" -m pip install --quiet "$here[test]" --config-settings "cmake.define.PROBEWISE_CUDA=$kind" \
    --config-settings "cmake.define.CMAKE_CUDA_ARCHITECTURES=$targets" --config-settings "build-dir=$work/build"
fi

cd "$here"
"$python" -c 'import sys
from probewise.device import cuda_module, devices_found
module, (names, missing) = cuda_module(), devices_found()
emulated = sys.argv[1] == "yes"
if not names or module.emulated() != emulated:
    sys.exit(f"gpu.sh: {missing or names}, expected " + ("an emulated build" if emulated else "a CUDA device"))
print(names[0])' "$emulated"
tests=(-m pytest -q -n 0 -p no:cacheprovider -m gpu tests/device tests/surrogate/test_on_a_device.py)
stage "tests" 50 "$python" "${tests[@]}"
if [[ $emulated == yes ]]; then
  echo "compute-sanitizer    not run: emulated"
elif [[ -n "$(command -v compute-sanitizer)" ]]; then
  for tool in memcheck racecheck; do
    stage "$tool" 70 compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" "${tests[@]}"
  done
else
  echo "compute-sanitizer    not run: it is not on PATH"
fi
quick=()
[[ $emulated == no ]] || quick=(--quick)
stage "measure" 90 "$python" bench/gpu_step.py "${quick[@]}" --json "$json"
echo "figures in $json"
printf '%-20s %4d s\n' "all" "$SECONDS"
