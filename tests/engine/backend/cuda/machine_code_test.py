"""The kernels are compiled as their design assumes: no spills, room for the blocks that are meant to
share a multiprocessor, wide loads and tensor-core products where it counts."""

import os
import re
import sys
import sysconfig
import unittest
from dataclasses import dataclass
from pathlib import Path

import machine_code

LIBRARY = Path(os.environ["KVASIR_GPU_LIBRARY"])
TOOLS = Path(sysconfig.get_paths()["purelib"], "nvidia/cu13/bin")  # of pip's packages

REGISTERS = 65536  # of a multiprocessor; a thread's are given out in eights
RESERVED_SHARED = 1024  # a block, from sm_90 on counted in


@dataclass
class Design:
    """What a kernel's occupancy is planned from."""

    pattern: str  # of its name
    threads: int  # of a block
    blocks: int  # that are to fit a multiprocessor together
    static_shared: int = 0  # bytes a block at most
    wide_loads: bool = True  # it reads 16 bytes a thread
    tensor: bool = False  # it multiplies by tensor cores


DESIGNS = [
    Design(r"EmbedKernel", 256, 6),
    Design(r"AddRmsNormKernel", 256, 6, static_shared=128),
    Design(r"RopeAnglesKernel", 256, 6),
    Design(r"NormRopeStoreKernel<\d+>", 256, 6),
    Design(r"SiluMulKernel", 256, 6),
    Design(r"GatherRowsKernel", 256, 6),
    Design(r"StreamKernel<1, 1, 4, 3>", 256, 3, static_shared=4096, tensor=True),
    Design(r"StreamKernel<1, 2, 4, 2>", 256, 2, static_shared=8192, tensor=True),
    Design(r"StreamKernel<2, 4, 2, 2>", 256, 2, static_shared=32768, tensor=True),
    Design(r"TileKernel", 256, 1, wide_loads=False, tensor=True),
    Design(r"AttentionKernel<\d+, 1>", 128, 3, wide_loads=False, tensor=True),
    Design(r"AttentionKernel<\d+, 4>", 256, 1, wide_loads=False, tensor=True),
    Design(r"SampleKernel", 512, 2, static_shared=24832),
]


class MachineCodeTest(unittest.TestCase):
    kernels: list[machine_code.Kernel]

    @classmethod
    def setUpClass(cls) -> None:
        cls.kernels = machine_code.kernels(LIBRARY, TOOLS)

    def design_of(self, kernel: machine_code.Kernel) -> Design:
        found = [d for d in DESIGNS if re.fullmatch(d.pattern, kernel.name)]
        self.assertEqual(1, len(found), f"{kernel.name}: add its design to this test")
        return found[0]

    def test_every_design_has_its_kernels_for_every_architecture(self) -> None:
        architectures = {kernel.arch for kernel in self.kernels}
        self.assertGreaterEqual(len(architectures), 2, architectures)
        for design in DESIGNS:
            found = {k.arch for k in self.kernels if re.fullmatch(design.pattern, k.name)}
            self.assertEqual(architectures, found, design.pattern)

    def test_nothing_spills(self) -> None:
        for kernel in self.kernels:
            with self.subTest(kernel=kernel.name, arch=kernel.arch):
                self.assertEqual(0, kernel.stack)
                self.assertEqual(0, kernel.count(r"(LDL|STL)\b"))

    def test_blocks_fit_as_planned(self) -> None:
        for kernel in self.kernels:
            with self.subTest(kernel=kernel.name, arch=kernel.arch):
                design = self.design_of(kernel)
                most = REGISTERS // (design.threads * design.blocks) // 8 * 8
                self.assertLessEqual(kernel.registers, most)
                self.assertLessEqual(kernel.shared, design.static_shared + RESERVED_SHARED)

    def test_loads_are_wide_and_products_are_tensor_cores(self) -> None:
        for kernel in self.kernels:
            with self.subTest(kernel=kernel.name, arch=kernel.arch):
                design = self.design_of(kernel)
                if design.wide_loads:
                    self.assertGreater(kernel.count(r"LDG\.E\.128"), 0)
                if design.tensor:
                    self.assertGreater(kernel.count(r"HMMA\.16816\.F32\.BF16"), 0)
                if design.tensor and not design.wide_loads:
                    self.assertGreater(kernel.count(r"LDGSTS\.E\.(BYPASS\.)?(LTC128B\.)?128"), 0)


if __name__ == "__main__":
    sys.exit(unittest.main())
