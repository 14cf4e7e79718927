"""What scripts/sizing.py says of memory, beside what a model takes."""

import json
import random
import struct
import sys
import unittest

from services import ROOT, ServiceTest, generate, model_pb2, wait_for

sys.path.insert(0, str(ROOT / "scripts"))

import sizing

TINY = ROOT / "models/tiny"
POOL = 64 << 20


class SizingTest(ServiceTest):
    def setUp(self) -> None:
        self.shape = sizing.read_shape(TINY)

    def test_the_page_has_its_table(self) -> None:
        page = (ROOT / "docs/operations.md").read_text()
        self.assertIn(sizing.table(sizing.SHAPES), page, sizing.__doc__)

    def test_weights_are_those_of_the_file(self) -> None:
        with (TINY / "model.safetensors").open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        sizes = {name: each["data_offsets"] for name, each in header.items()}
        # Norms are f32 in memory, bf16 in the file.
        expected = sum(
            (end - begin) * (2 if "norm" in name else 1) for name, (begin, end) in sizes.items()
        )
        self.assertEqual(sizing.weights(self.shape), expected)

    def test_a_full_pool_takes_what_it_should(self) -> None:
        model = self.start("kvasir-model", f"--kv-memory={POOL}").serve()
        info = model.model.GetModelInfo(model_pb2.GetModelInfoRequest())
        self.assertEqual(info.kv_tokens * sizing.kv_per_token(self.shape), POOL)

        def resident() -> float:
            return model.metric("process_resident_memory_bytes")

        before = resident()
        random_ = random.Random(1)
        for number in range(info.kv_tokens // 1000 + 1):
            ids = [random_.randrange(1, 1500) for _ in range(1000)]
            fields = {"session_id": str(number), "create_if_missing": True, "max_new_tokens": 1}
            generate(model, input_ids=ids, **fields)
        free = 'kvasir_kv_blocks{state="free"}'
        wait_for(lambda: model.metric(free) <= 0.01 * info.kv_tokens / 16, "the pool is full")

        # Of the pool 1 % may be untouched yet; threads' scratch and the sessions' ids are little.
        expected = POOL + sizing.work(self.shape)
        self.assertAlmostEqual(resident() - before, expected, delta=0.05 * expected)
        self.assertLess(resident(), sizing.weights(self.shape) + expected + sizing.REST)
        print(f"{before:.0f} bytes empty, {resident() - before:.0f} more when full: {expected}")


if __name__ == "__main__":
    unittest.main()
