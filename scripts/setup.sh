#!/usr/bin/env bash
# Makes .venv from a lock file and proves that it works. Usage: scripts/setup.sh cpu|gpu
# .venv/ready-cpu (or -gpu) marks a finished set-up: with it .venv is brought up to date in place, else it is made anew.
# Environment: PYTHON (a Python 3.11); TORCH_INDEX (where a CPU torch comes from when pip's find-links has none).
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?cpu or gpu}
lock=requirements/$kind.lock
marker=.venv/ready-$kind
log=.venv/setup.log

is_311() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }
quiet() { "$@" >>"$log" 2>&1 || { tail -25 "$log" >&2; echo "set-up failed; the whole log: $log" >&2; exit 1; }; }
apt_get() { timeout 300 apt-get -y -q "$@" </dev/null >>"$log" 2>&1; }
pinned() { grep -E "^$1==" "$lock"; }

if [ ! -e "$marker" ]; then
  for python in ${PYTHON:-python3.11 python3 python}; do
    if is_311 "$python"; then found=$python && break; fi
  done
  if [ -z "${found:-}" ]; then
    echo "tower-rl needs Python 3.11 with venv and ensurepip; looked at: ${PYTHON:-python3.11 python3 python}" >&2
    echo "Install it (Debian 12: apt install python3.11-venv; or pyenv, uv python) or say where: make setup PYTHON=/path/to/python3.11" >&2
    exit 2
  fi
  headers=$("$found" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  if ! command -v cc >/dev/null || [ ! -e "$headers/Python.h" ]; then
    echo "note: one small package (pycosat, of reasoning-gym) is compiled, and a C compiler or Python's headers are missing" >&2
    echo "      here; if that fails: apt install gcc libc6-dev python3.11-dev" >&2
  fi
  "$found" -m venv --clear .venv
fi
rm -f .venv/ready-* "$log"
pip=(.venv/bin/python -m pip --disable-pip-version-check install -q --no-deps --no-compile)
uv=(.venv/bin/uv pip)
export VIRTUAL_ENV=$PWD/.venv

quiet "${pip[@]}" "$(pinned uv)"
settings=$(.venv/bin/python scripts/uv_environment.py)
eval "$settings"
echo "installing $(wc -l < "$lock") packages from $lock ..."
if [ "$kind" = cpu ]; then  # torch==X is met by X+cpu: from the find-links that pip knows, else from PyTorch's own index
  "${pip[@]}" --no-index "$(pinned torch)" >>"$log" 2>&1 || quiet "${pip[@]}" --index-url "$TORCH_INDEX" "$(pinned torch)"
else  # not from the find-links, which may hold the CPU build
  quiet env -u UV_FIND_LINKS "${uv[@]}" install --no-deps "$(pinned torch)"
fi
quiet "${uv[@]}" sync "$lock"  # the torch above meets its line and stays
quiet "${uv[@]}" install --no-deps --no-build-isolation -e .
EXPECT=$kind quiet .venv/bin/python -I - <<'PY'
import os, torch, transformers, vllm
import transformers.models.llama.modeling_llama
has_cuda = torch.version.cuda is not None
assert has_cuda == (os.environ["EXPECT"] == "gpu"), f"torch {torch.__version__} is the wrong build for {os.environ['EXPECT']}"
PY
if ! command -v bwrap >/dev/null; then  # nothing but the code verifiers needs it
  if [ "$(id -u)" != 0 ] || ! { apt_get install bubblewrap || { apt_get update && apt_get install bubblewrap; }; }; then
    echo "note: programs of code tasks run in bubblewrap, which is not installed: sudo apt-get install bubblewrap" >&2
    echo "      (dnf install bubblewrap, apk add bubblewrap); without it the code verifiers refuse to start, see docs/sandbox.md" >&2
  fi
fi
touch "$marker"
echo "ready: .venv ($(.venv/bin/python --version), torch $(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))'))"
