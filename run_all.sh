#!/usr/bin/env bash
# Set-up and main job, or set-up and tests, on a machine that has nothing but Python 3.11 - 3.13.
#
#   ./run_all.sh [--profile PROFILE] [--only 01,02] [--seeds N] [--jobs N] [--data-root DIR] [--out DIR]
#                                                      execute the notebooks, write tables, figures and report.html
#   ./run_all.sh test [PYTEST ARGUMENTS]               run the tests and the notebooks' tests
#
# Profiles: smoke, quick (default), synthetic, synthetic-wide, photos, paper.
#
# Environment variables:
#   GCNLAB_VENV       folder of the virtual environment (default .venv); an active environment that has gcnlab is used
#   PYTHON            the Python to make it with
#   TORCH_INDEX_URL   where to take torch and torchvision from; https://download.pytorch.org/whl/cpu saves 5 GB of
#                     CUDA libraries on a machine without a GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { echo "run_all.sh: $*" >&2; exit 2; }

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 with venv found: install one (Debian: python3 python3-venv) or set PYTHON=…"
}

set_up() {
    local extra=$1 stamp free
    if [[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]] && python -P -c 'import gcnlab, papermill, nbval' 2>/dev/null; then
        return # the user's own environment
    fi
    local venv=${GCNLAB_VENV:-.venv}
    stamp="$venv/.gcnlab-$extra-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)"
    if [[ ! -e "$stamp" ]]; then
        if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then # none yet, or one that was not finished
            mkdir -p "$(dirname "$venv")"
            free=$(df -Pk "$(dirname "$venv")" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
            ((free >= 9)) || [[ -n "${TORCH_INDEX_URL:-}" ]] || fail "only $free GB free and PyTorch with CUDA needs 9:" \
                "free some space, or set TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu (see README)"
            local python
            python=$(find_python) || exit 2
            echo "making $venv with $("$python" --version)"
            [[ ! -e "$venv" || -e "$venv/pyvenv.cfg" ]] || fail "$venv is no virtual environment: name another folder"
            "$python" -m venv --clear "$venv" || fail "$python could not make $venv: install python3-venv"
        fi
        local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt)
        echo "installing (the first time: some minutes, mostly PyTorch)"
        if [[ -n "${TORCH_INDEX_URL:-}" ]]; then
            "${pip[@]}" --index-url "$TORCH_INDEX_URL" torch torchvision
        fi
        "${pip[@]}" --editable ".[$extra]" || fail "installation failed: see the lines above; run the same command again"
        touch "$stamp"
    fi
    PATH="$(cd "$venv" && pwd)/bin:$PATH"
    export PATH
}

if [[ "${1:-}" == test ]]; then
    shift
    set_up test
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # one process per core: more threads only get in each other's way
    python -m pytest -n auto "$@"
    echo "== the notebooks, with their default parameters"
    exec python -m pytest -n auto --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks
fi
if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p'
    exit 0
fi
set_up notebooks
exec python -m gcnlab notebooks "$@"
