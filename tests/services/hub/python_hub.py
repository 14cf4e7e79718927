"""A model of a hub through the Python library huggingface_hub: prints its folder.

python_hub.py download MODEL REVISION: all of its files, from the hub that HF_ENDPOINT names.
python_hub.py find MODEL REVISION FILE...: from the cache alone, with each of these files, which has
to be found by itself too; nothing in the cache may look strange to the library.
"""

import sys
from pathlib import Path

from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download


def main() -> None:
    action, model, revision, *files = sys.argv[1:]
    folder = snapshot_download(model, revision=revision, local_files_only=action == "find")
    for name in files:
        found = hf_hub_download(model, name, revision=revision, local_files_only=True)
        if Path(found) != Path(folder, name):
            sys.exit(f"{name} is at {found}, not in {folder}")
    if warnings := scan_cache_dir().warnings:
        sys.exit(f"strange in the cache: {warnings}")
    print(folder)


if __name__ == "__main__":
    main()
