"""What gpu_bench and device_limits left in a folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figure = dict[str, Any]


@dataclass
class Results:
    """Figures as gpu_bench.cc describes them, in the order in which they were measured."""

    limits: dict[str, Any]
    models: list[Figure]
    figures: list[Figure]

    @property
    def bandwidth(self) -> float:
        """Bytes a second: what a kernel that does nothing else reaches, read or copied."""
        return max(self.limits["read_bytes_per_second"], self.limits["copy_bytes_per_second"])

    @property
    def gemm(self) -> float:
        """Operations a second of a large matrix product."""
        return self.limits["gemm_flops_per_second"]

    def find(self, **wanted: Any) -> list[Figure]:
        """The figures whose fields are as wanted."""
        return [f for f in self.figures if all(f[k] == v for k, v in wanted.items())]


def load(folder: Path) -> Results:
    """Reads a folder that tests/gpu/run.sh has filled."""
    lines = [
        json.loads(line)
        for path in sorted(folder.glob("bench-*.jsonl"), reverse=True)
        for line in path.read_text().splitlines()
    ]
    return Results(
        json.loads((folder / "limits.json").read_text()),
        [f for f in lines if f["what"] == "model"],
        [f for f in lines if f["what"] != "model"],
    )
