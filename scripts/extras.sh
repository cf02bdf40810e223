#!/usr/bin/env sh
# Prints the extras to install: the CUDA build of onnxruntime where an NVIDIA driver answers.
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu,weights,dev"
else
    echo "cpu,weights,dev"
fi
