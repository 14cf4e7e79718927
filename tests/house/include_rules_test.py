"""The project keeps its include rules, and each rule finds what it is there for."""

import tempfile
import unittest
from pathlib import Path

import include_rules

ROOT = Path(__file__).resolve().parents[2]


def planted(name: str, text: str) -> list[str]:
    """The violations of a project that has this one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        return include_rules.violations(Path(folder))


class ProjectTest(unittest.TestCase):
    def test_project_has_sources(self) -> None:
        names = {p.relative_to(ROOT).as_posix() for p in include_rules.source_files(ROOT)}
        self.assertIn("engine/model/qwen3.cc", names)
        self.assertIn("tokenizer/tokenizer.h", names)

    def test_project_keeps_the_rules(self) -> None:
        self.assertEqual([], include_rules.violations(ROOT))


class RuleTest(unittest.TestCase):
    def check_include(self, name: str, header: str, allowed: bool) -> None:
        with self.subTest(name=name, header=header):
            found = planted(name, f"#include {header}\n")
            self.assertEqual(0 if allowed else 1, len(found), found)

    def test_includes(self) -> None:
        for name, header, allowed in [
            ("engine/sampler.cc", '"engine/sampler.h"', True),
            ("engine/engine.cc", '"engine/schedule/scheduler.h"', True),
            ("engine/engine.cc", '"tokenizer/tokenizer.h"', False),
            ("engine/engine.cc", '"kvasir/v1/model.pb.h"', False),
            ("engine/engine.cc", "<grpcpp/grpcpp.h>", False),
            ("engine/model/qwen3.cc", '"engine/backend/backend.h"', True),
            ("engine/model/qwen3.cc", '"engine/backend/cpu/cpu_backend.h"', False),
            ("engine/model/qwen3.cc", '"engine/cache/kv_cache.h"', False),
            ("engine/schedule/scheduler.cc", '"engine/cache/kv_cache.h"', True),
            ("engine/schedule/scheduler.cc", '"engine/model/qwen3.h"', False),
            ("engine/cache/session.cc", '"engine/schedule/scheduler.h"', False),
            ("engine/backend/cpu/matmul.cc", '"engine/model/weights.h"', False),
            ("engine/tensor.cc", "<cuda_runtime.h>", False),
            ("engine/backend/cuda/cuda_backend.cc", "<cuda_runtime.h>", True),
            ("engine/backend/cuda/cuda_backend.cc", "<cublasLt.h>", True),
            ("engine/backend/cuda/cuda_backend.cc", '"engine/backend/cpu/matmul.h"', False),
            ("tokenizer/bpe.cc", '"tokenizer/bpe.h"', True),
            ("tokenizer/bpe.cc", '"engine/check.h"', False),
            ("tokenizer/bpe.cc", "<google/protobuf/message.h>", False),
            ("services/model_service.cc", '"engine/engine.h"', True),
            ("services/model_service.cc", '"services/grpc_status.h"', True),
            ("services/model_service.cc", "<grpcpp/grpcpp.h>", True),
            ("services/demo/demo_main.cc", '"engine/engine.h"', False),
            ("tests/engine/sampler_test.cc", '"tokenizer/bpe.h"', False),
            ("tests/tokenizer/bpe_test.cc", '"engine/check.h"', False),
            ("engine/sampler.cc", '"sampler.h"', False),
            ("elsewhere/x.cc", "<vector>", False),
        ]:
            self.check_include(name, header, allowed)

    def test_cuda_conditions(self) -> None:
        text = "#ifdef KVASIR_CUDA\n#endif\n"
        self.assertEqual(1, len(planted("engine/engine.cc", text)))
        self.assertEqual(0, len(planted("engine/backend/cuda/cuda_backend.cc", text)))
        self.assertEqual(1, len(planted("engine/backend/cpu/matmul.cu", "")))

    def test_header_guards(self) -> None:
        good = "#ifndef KVASIR_TOKENIZER_BPE_H_\n#define KVASIR_TOKENIZER_BPE_H_\n#endif\n"
        self.assertEqual([], planted("tokenizer/bpe.h", good))
        self.assertEqual(1, len(planted("tokenizer/nfc.h", good)))

    def test_length(self) -> None:
        at_limit = "\n" * include_rules.MAX_LINES
        self.assertEqual([], planted("engine/engine.cc", at_limit))
        self.assertEqual(1, len(planted("engine/engine.cc", at_limit + "\n")))
        table = "// Made by make_tables.py: do not edit.\n" + at_limit
        self.assertEqual([], planted("tokenizer/tables.cc", table))


if __name__ == "__main__":
    unittest.main()
