#!/usr/bin/env sh
# Rewrites constraints.txt from the environment the tests just passed in. The builds of onnxruntime
# for CUDA and the libraries for training are pinned by hand below, since one environment cannot
# hold everything at once.
set -eu
cd "$(dirname "$0")/.."
{
    echo "# The versions the tests passed with (scripts/constraints.sh rewrites this file)."
    .venv/bin/python -m pip --disable-pip-version-check freeze --exclude-editable |
        grep -v ' @ ' | grep -viE '^(torch|transformers|sentence-transformers|scikit-learn|onnxruntime-gpu)=='
    echo
    echo "# Not in the environment for serving."
    cat scripts/constraints-extra.txt
} > constraints.tmp
mv constraints.tmp constraints.txt
