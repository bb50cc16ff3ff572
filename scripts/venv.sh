#!/usr/bin/env bash
# Makes .venv with the pinned dependencies and the package itself, or does nothing when it is up to date.
#
# The key in .venv/.ready covers the pins, pyproject.toml and this folder's path, so a second run needs
# no network and takes milliseconds. A run that was cut off leaves .venv/.installing behind, and the
# next one starts afresh: pip takes a half-unpacked package for an installed one.
#
#   PYTHON=python3.12 scripts/venv.sh         another interpreter
#   TORCH_ARGS='--index-url URL' scripts/venv.sh   where the CPU build of torch comes from
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
    if [ -n "${PYTHON:-}" ]; then break; fi
  done
  die "python must be 3.11 or newer, got ${PYTHON:-$(python3 --version 2>/dev/null || echo none)}." \
    "Install Python 3.11 with its venv module (Debian, Ubuntu: python3.11-venv), or name one: make PYTHON=/path/to/python3.11."
}

digest() {
  { printf '%s\n' "$PWD"; cat constraints.txt requirements-features.txt pyproject.toml scripts/venv.sh; } |
    { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1
}

pip_install() {
  local what=$1
  shift
  say "  installing $what"
  .venv/bin/python -m pip install -qq --constraint constraints.txt "$@" ||
    die "pip could not install $what (its message is above). Mend that and run the same command again."
}

key=$(digest)
if [ "$(cat .venv/.ready 2>/dev/null)" = "$key" ] && .venv/bin/python -c '' 2>/dev/null; then
  exit 0
fi

started=$SECONDS
if [ -e .venv/.installing ] || { [ -d .venv ] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; } ||
  { [ -e .venv/.made-in ] && [ "$(cat .venv/.made-in)" != "$PWD" ]; }; then
  say "  removing .venv: half installed, broken or moved"
  rm -rf .venv
fi
if [ ! -d .venv ]; then
  python=$(find_python) || exit 1
  say "  making .venv with $("$python" --version)"
  mkdir .venv
  touch .venv/.installing
  "$python" -m venv .venv ||
    die "$python cannot make a virtual environment. Install its venv module (Debian, Ubuntu: python3-venv)."
fi
touch .venv/.installing
rm -f .venv/.ready
printf '%s\n' "$PWD" >.venv/.made-in

# torch first and pinned: left to the resolver it may come as a CUDA build of 5 GB.
torch=$(grep -E '^torch==' constraints.txt)
pip_install "pip and setuptools" pip setuptools wheel
# shellcheck disable=SC2086  # TORCH_ARGS is several words on purpose
pip_install "$torch" ${TORCH_ARGS:-} "$torch"
pip_install "the dependencies (a few minutes the first time)" \
  --no-build-isolation --editable '.[dev]'
pip_install "the image features" --no-deps --requirement requirements-features.txt
cuda=$(.venv/bin/python -c 'import torch; print(torch.version.cuda or "")')
if [ -n "$cuda" ] && ! command -v nvidia-smi >/dev/null 2>&1; then
  say "note: torch came as a build for CUDA $cuda on a machine without a GPU. It works, and is large;" \
    "TORCH_ARGS='--index-url URL' with PyTorch's CPU index gives the small build."
fi

say "  building the CPU kernels"
.venv/bin/python -c 'from nitrogen.kernels.cpu.library import load; print("  " + load()[1])' >&2 ||
  say "note: the CPU kernels could not be built; sampling runs on plain PyTorch."

printf '%s\n' "$key" >.venv/.ready
rm -f .venv/.installing
say "  .venv is ready ($((SECONDS - started)) s)"
