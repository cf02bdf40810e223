#!/usr/bin/env sh
# Prints the extras to install: the CUDA builds where an NVIDIA driver answers. With --training also
# those that fine-tuning needs.
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
    serving="gpu,weights,dev"
    training="train,generator-gpu"
else
    serving="cpu,weights,dev"
    training="train,generator"
fi
if [ "${1:-}" = "--training" ]; then
    echo "$serving,$training"
else
    echo "$serving"
fi
