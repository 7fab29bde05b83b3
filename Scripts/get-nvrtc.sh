#!/usr/bin/env bash
# Fetches NVIDIA's run-time compiler (pip's wheel, 45 MB) into the folder given, laid out as a Python environment, so that the
# tests can compile the CUDA kernels for every architecture on a machine without a GPU. Does nothing where it is already, and
# only says so where it cannot be had: those tests are then skipped.
set -euo pipefail

folder="$1"
packages="$folder/lib/python3/site-packages"
[ -d "$packages/nvidia" ] && exit 0

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$scratch" \
  --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 nvidia-cuda-nvrtc==13.0.88; then
  echo "NVRTC cannot be fetched: the CUDA kernels will NOT be compiled by the tests." >&2
  exit 0
fi
mkdir -p "$packages"
python3 -m zipfile -e "$scratch"/*.whl "$packages"
