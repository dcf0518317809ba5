#!/usr/bin/env bash
# Makes .venv from a lock file and proves that it works. Usage: scripts/setup.sh cpu|gpu
# Environment: PYTHON (a Python 3.11), TORCH_INDEX (where a CPU torch comes from when no find-links has one).
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?cpu or gpu}
lock=requirements/$kind.lock
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}

is_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }
if [ -z "$python" ] || ! is_311 "$python"; then
  echo "tower-rl needs Python 3.11; found: ${python:-none} $("${python:-true}" --version 2>&1 || true)" >&2
  echo "Install it (Debian: apt install python3.11 python3.11-venv; or pyenv, uv python) or say where: make setup PYTHON=/path/to/python3.11" >&2
  exit 2
fi

"$python" -m venv --clear .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check)
log=.venv/setup.log
quiet() { "$@" >>"$log" 2>&1 || { tail -25 "$log" >&2; echo "set-up failed; the whole log: $log" >&2; exit 1; }; }

if [ "$kind" = cpu ]; then  # a CPU build of torch: from the find-links that pip knows, else from PyTorch's own index
  torch=$(grep -E '^torch==' "$lock")
  "${pip[@]}" install -q --no-deps --no-index "$torch" >>"$log" 2>&1 ||
    quiet "${pip[@]}" install -q --no-deps --index-url "$TORCH_INDEX" "$torch"
fi
echo "installing $(grep -c '==' "$lock") packages from $lock ..."
quiet "${pip[@]}" install -q --no-deps --no-compile -r "$lock"
quiet "${pip[@]}" install -q --no-deps --no-build-isolation -e .
EXPECT=$kind quiet .venv/bin/python - <<'PY'
import os, torch, transformers, vllm
import transformers.models.llama.modeling_llama
has_cuda = torch.version.cuda is not None
assert has_cuda == (os.environ["EXPECT"] == "gpu"), f"torch {torch.__version__} is the wrong build for {os.environ['EXPECT']}"
print("torch", torch.__version__, "transformers", transformers.__version__)
PY
touch .venv/ready
echo "ready: .venv ($("$python" --version), $(.venv/bin/python -c 'import importlib.metadata as m; print("torch", m.version("torch"))'))"
