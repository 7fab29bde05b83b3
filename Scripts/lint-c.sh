#!/usr/bin/env bash
# Checks (or with --fix: makes) the formatting of C and CUDA files, where clang-format is at hand.
set -euo pipefail

format="$(command -v clang-format || true)"
if [ -z "$format" ]; then
  echo "lint: clang-format is not installed, C files are not checked (pip install clang-format)" >&2
  exit 0
fi
mode=(--dry-run --Werror)
[ "${1:-}" = --fix ] && mode=(-i)
git ls-files -z 'Sources/*.c' 'Sources/*.h' 'Sources/*.cu' 'Sources/*.cuh' | xargs -0 "$format" "${mode[@]}"
