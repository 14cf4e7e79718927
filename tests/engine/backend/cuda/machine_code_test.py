"""The kernels are compiled as their design assumes: no spills, room for the blocks that are meant to
share a multiprocessor of each architecture, wide loads and tensor-core products in the inner loops.
"""

import os
import re
import subprocess
import sys
import sysconfig
import unittest
from dataclasses import dataclass
from pathlib import Path

import machine_code
import occupancy
from machine_code import Kernel

TOOLS = Path(sysconfig.get_paths()["purelib"], "nvidia/cu13/bin")  # of pip's packages

# Opcodes. Past L1 or not, of memory that is only read or not: 16 bytes a lane.
WIDE_LOAD = r"LDG\.E(\.NA)?(\.LTC\w+)?\.128\b"
WIDE_COPY = r"LDGSTS\.E(\.BYPASS)?(\.LTC\w+)?\.128\b"
WIDE_SHARED_LOAD = r"LDS\.128\b"
MATRIX_LOAD = r"LDSM\.16\.M88\.4\b"
TRANSPOSED_MATRIX_LOAD = r"LDSM\.16\.MT88\.4\b"
PRODUCT = r"HMMA\.16816\.F32\.BF16\b"
GLOBAL_LOAD = r"LDG\b"
SPILL = r"(LDL|STL)\b"


@dataclass
class Design:
    """What a kernel's speed is planned from."""

    pattern: str  # of its name
    threads: int  # of a block
    blocks: int  # that are to share a multiprocessor
    small_blocks: int = 0  # where that has 100 KiB of shared memory and 1,536 threads, if fewer
    loop: tuple[str, ...] = ()  # opcodes that one inner loop has, all of them
    wide_loop: bool = False  # global loads of that loop are wide ones alone
    anywhere: tuple[str, ...] = ()


ROWS = {"threads": 256, "blocks": 6}
DESIGNS = [
    Design(r"EmbedKernel", **ROWS, loop=(WIDE_LOAD,), wide_loop=True),
    Design(r"AddRmsNormKernel", **ROWS, loop=(WIDE_LOAD,), wide_loop=True),
    Design(r"GatherRowsKernel", **ROWS, loop=(WIDE_LOAD,), wide_loop=True),
    Design(r"RopeAnglesKernel", **ROWS, anywhere=(WIDE_LOAD,)),
    Design(r"NormRopeStoreKernel<\d+>", **ROWS, anywhere=(WIDE_LOAD,)),
    Design(r"SiluMulKernel<(float|__nv_bfloat16)>", **ROWS, anywhere=(WIDE_LOAD,)),
    Design(r"StreamKernel<1, 1, 4, 3>", 256, 3, loop=(WIDE_LOAD, PRODUCT), wide_loop=True),
    Design(r"StreamKernel<1, 2, 4, 2>", 256, 2, loop=(WIDE_LOAD, PRODUCT), wide_loop=True),
    Design(r"StreamKernel<2, 4, 2, 2>", 256, 2, loop=(WIDE_LOAD, PRODUCT), wide_loop=True),
    Design(r"TileKernel", 256, 1, loop=(WIDE_COPY, WIDE_SHARED_LOAD, PRODUCT)),
    Design(
        r"AttentionKernel<\d+, 1>",
        128,
        3,
        small_blocks=2,
        loop=(WIDE_COPY, MATRIX_LOAD, TRANSPOSED_MATRIX_LOAD, PRODUCT),
    ),
    Design(
        r"AttentionKernel<(16|32), 4>",
        256,
        2,
        loop=(WIDE_COPY, MATRIX_LOAD, TRANSPOSED_MATRIX_LOAD, PRODUCT),
    ),
    Design(
        r"AttentionKernel<(64|128), 4>",
        256,
        1,
        loop=(WIDE_COPY, MATRIX_LOAD, TRANSPOSED_MATRIX_LOAD, PRODUCT),
    ),
    Design(r"SampleKernel", 512, 2, loop=(WIDE_LOAD,)),
]


def design_of(kernel: Kernel) -> Design:
    """The one that is written for it."""
    found = [d for d in DESIGNS if re.fullmatch(d.pattern, kernel.name)]
    if len(found) != 1:
        raise LookupError(f"{kernel.name}: add its design to this test")
    return found[0]


def wrong_instructions(kernel: Kernel, design: Design) -> list[str]:
    """In what its code is not as designed."""
    wrong = []
    if kernel.stack > 0 or kernel.count(SPILL) > 0:
        wrong.append(f"spills: a stack of {kernel.stack} bytes, {kernel.count(SPILL)} accesses")
    wrong.extend(f"no {p}" for p in design.anywhere if kernel.count(p) == 0)

    def has_all(loop: list[str]) -> bool:
        if not all(any(re.match(p, opcode) for opcode in loop) for p in design.loop):
            return False
        loads = [opcode for opcode in loop if re.match(GLOBAL_LOAD, opcode)]
        return not design.wide_loop or all(re.match(WIDE_LOAD, opcode) for opcode in loads)

    if design.loop and not any(has_all(loop) for loop in kernel.inner_loops):
        narrow = " and no narrower loads" if design.wide_loop else ""
        wrong.append(f"no inner loop has {' and '.join(design.loop)}{narrow}")
    return wrong


def wrong_occupancy(kernel: Kernel, design: Design, device: int, dynamic: int) -> list[str]:
    """Whether as many blocks share a multiprocessor of the device as are planned.

    dynamic: bytes of a block's shared memory that the host asks for.
    """
    multiprocessor = occupancy.ARCHITECTURES[device]
    # From sm_90 on the compiler counts in what is reserved, where there is anything beside it.
    counted_in = occupancy.RESERVED_SHARED if kernel.arch >= 90 else 0
    static = max(kernel.shared - counted_in, 0)
    resident = multiprocessor.resident(design.threads, kernel.registers, static + dynamic)
    is_small = multiprocessor.shared == occupancy.ARCHITECTURES[86].shared
    planned = design.small_blocks if is_small and design.small_blocks else design.blocks
    if resident >= planned:
        return []
    return [
        f"sm_{device}: {resident} blocks of {design.threads} threads with {kernel.registers} "
        f"registers and {static} + {dynamic} bytes of shared memory, {planned} are planned"
    ]


class LibraryTest(unittest.TestCase):
    """What nvcc made of our kernels."""

    kernels: list[Kernel]
    dynamic: dict[str, int]

    @classmethod
    def setUpClass(cls) -> None:
        cls.kernels = machine_code.kernels(Path(os.environ["KVASIR_GPU_LIBRARY"]), TOOLS)
        # The emulator tells what the host code asks for.
        lines = subprocess.run(
            [os.environ["KVASIR_KERNEL_SHARED_MEMORY"]], check=True, text=True, capture_output=True
        ).stdout.splitlines()
        fields = [line.split("\t") for line in lines]
        cls.dynamic = {machine_code.short_name(name): int(size) for name, size in fields}

    def test_every_design_has_its_kernels_for_every_architecture(self) -> None:
        architectures = {kernel.arch for kernel in self.kernels}
        self.assertGreaterEqual(len(architectures), 2, architectures)
        for design in DESIGNS:
            found = {k.arch for k in self.kernels if re.fullmatch(design.pattern, k.name)}
            self.assertEqual(architectures, found, design.pattern)

    def test_instructions_are_as_designed(self) -> None:
        for kernel in self.kernels:
            with self.subTest(kernel=kernel.name, arch=kernel.arch):
                self.assertEqual([], wrong_instructions(kernel, design_of(kernel)))

    def test_blocks_fit_as_planned(self) -> None:
        self.assertLessEqual(set(self.dynamic), {kernel.name for kernel in self.kernels})
        self.assertIn("AttentionKernel<128, 4>", self.dynamic)
        devices = occupancy.running({kernel.arch for kernel in self.kernels})
        self.assertLessEqual({80, 86, 89, 90}, set(devices))
        for device, compiled in devices.items():
            for kernel in self.kernels:
                if kernel.arch != compiled:
                    continue
                with self.subTest(kernel=kernel.name, arch=kernel.arch, device=device):
                    dynamic = self.dynamic.get(kernel.name, 0)
                    self.assertEqual(
                        [], wrong_occupancy(kernel, design_of(kernel), device, dynamic)
                    )


RESOURCES = """
arch = sm_{arch}
 Function _ZN6kvasir4cuda12StreamKernelILi1ELi1ELi4ELi3EEEvNS0_10MatmulArgsE:
  REG:{registers} STACK:0 SHARED:{shared} LOCAL:0 CONSTANT[0]:400
"""
FUNCTION = """
arch = sm_{arch}
        Function : _ZN6kvasir4cuda12StreamKernelILi1ELi1ELi4ELi3EEEvNS0_10MatmulArgsE
"""


def kernel_of(lines: list[str], arch: int = 80, registers: int = 70, shared: int = 4096) -> Kernel:
    """A kernel of these instructions, 16 bytes each."""
    sass = [f"        /*{16 * n:04x}*/  {line} ;  /* 0x0 */" for n, line in enumerate(lines)]
    return machine_code.parse(
        RESOURCES.format(arch=arch, registers=registers, shared=shared),
        FUNCTION.format(arch=arch) + "\n".join(sass),
    )[0]


def made_up(before: str = "", loop: str = "", after: str = "") -> Kernel:
    """What a compiler might make: opcodes before a loop, in it and after it, and a block out of
    line from which it jumps into the loop."""

    def instructions(opcodes: str) -> list[str]:
        return [f"{opcode} R4, [R8.64]" for opcode in opcodes.split()]

    head = 16 * len(before.split())
    out_of_line = head + 16 * len((loop + " " + after).split()) + 3 * 16
    return kernel_of(
        [
            *instructions(before),
            f"@!P1 BRA {out_of_line:#x}",
            *instructions(loop),
            f"@P0 BRA {head:#x}",
            *instructions(after),
            "EXIT",
            "LDG.E.128 R4, [R2.64]",
            f"BRA {head + 16:#x}",
            "BRA 0x0",  # what pads the end is not reached
        ]
    )


class MadeUpTest(unittest.TestCase):
    """The checks see what they are for."""

    design = Design("", 256, 3, loop=(WIDE_LOAD, PRODUCT), wide_loop=True)

    def wrong(self, **code: str) -> str:
        return "; ".join(wrong_instructions(made_up(**code), self.design))

    def test_what_is_as_designed(self) -> None:
        kernel = made_up(loop="LDG.E.NA.128.CONSTANT HMMA.16816.F32.BF16 LDG.E.128.CONSTANT")
        self.assertEqual("StreamKernel<1, 1, 4, 3>", kernel.name)
        self.assertEqual(1, len(kernel.inner_loops))
        # With the block out of line, which is part of it.
        self.assertEqual(7, len(kernel.inner_loops[0]), kernel.inner_loops)
        self.assertEqual([], wrong_instructions(kernel, self.design))
        self.assertIs(design_of(kernel).loop, DESIGNS[6].loop)

    def test_products_must_be_in_the_loop(self) -> None:
        product = "HMMA.16816.F32.BF16"
        self.assertEqual("", self.wrong(loop=f"LDG.E.128 {product}"))
        for code in ({"before": product}, {"after": product}, {}):
            self.assertIn("no inner loop", self.wrong(loop="LDG.E.128 FFMA", **code))
        self.assertIn("no inner loop", self.wrong(loop="LDG.E.128 HMMA.1688.F32"))

    def test_loads_must_be_wide_and_in_the_loop(self) -> None:
        copies = Design("", 256, 3, loop=(WIDE_COPY, PRODUCT))
        product = "HMMA.16816.F32.BF16"
        for opcode in ("LDGSTS.E.BYPASS.128", "LDGSTS.E.128", "LDGSTS.E.BYPASS.LTC128B.128"):
            kernel = made_up(loop=f"{opcode} {product}")
            self.assertEqual([], wrong_instructions(kernel, copies), opcode)
        for loop in ("LDGSTS.E.64", "LDGSTS.E.BYPASS.64", "LDG.E.128", "LDGSTS.E.LTC128B", ""):
            kernel = made_up(before="LDGSTS.E.128", loop=f"{loop} {product}")
            self.assertNotEqual([], wrong_instructions(kernel, copies), loop)
        for loop in ("LDG.E.64", "LDG.E", "LDG.E.LTC128B", "LDG.E.NA.64.CONSTANT"):
            self.assertIn("no inner loop", self.wrong(loop=f"LDG.E.128 {loop} {product}"), loop)

    def test_a_jump_back_from_out_of_line_is_no_loop(self) -> None:
        kernel = kernel_of(
            [
                "@P0 BRA 0x40",
                "LDG.E.128 R0, [R2]",
                "HMMA.16816.F32.BF16 R4, R8, R12, R4",
                "EXIT",
                "FFMA R1, R1, R1, R1",
                "BRA 0x10",
            ]
        )
        self.assertEqual([], kernel.inner_loops)
        self.assertEqual(1, len(wrong_instructions(kernel, self.design)))

    def test_a_loop_around_another_is_no_inner_one(self) -> None:
        kernel = kernel_of(
            [
                "LDG.E.128 R0, [R2]",
                "HMMA.16816.F32.BF16 R4, R8, R12, R4",
                "FFMA R1, R1, R1, R1",
                "@P0 BRA 0x20",
                "@P1 BRA 0x0",
                "EXIT",
            ]
        )
        self.assertEqual([["FFMA", "BRA"]], kernel.inner_loops)
        self.assertEqual(1, len(wrong_instructions(kernel, self.design)))

    def test_spills(self) -> None:
        loop = "LDG.E.128 HMMA.16816.F32.BF16"
        for opcode in ("STL.64", "LDL"):
            self.assertIn("spills", self.wrong(loop=loop, after=opcode))

    def test_occupancy(self) -> None:
        def wrong(device: int = 80, dynamic: int = 0, blocks: int = 3, **usage: int) -> list[str]:
            design = Design("", 256, blocks, small_blocks=2)
            return wrong_occupancy(kernel_of(["EXIT"], **usage), design, device, dynamic)

        self.assertEqual([], wrong(registers=80))
        self.assertEqual(1, len(wrong(registers=81)))  # 24 warps of 2,560 registers fill all
        self.assertEqual([], wrong(registers=128, blocks=2))
        self.assertEqual(1, len(wrong(registers=129, blocks=2)))
        # 164 KiB hold three times 53.6 KiB and what is reserved; 100 KiB twice 49.
        self.assertEqual([], wrong(dynamic=49 << 10))
        self.assertEqual(1, len(wrong(dynamic=50 << 10)))
        self.assertEqual([], wrong(86, dynamic=45 << 10))
        self.assertEqual(1, len(wrong(86, dynamic=46 << 10)))
        # What is reserved is in sm_90's figure already.
        self.assertEqual([], wrong(90, arch=90, shared=(75 << 10)))
        self.assertEqual(1, len(wrong(90, arch=90, shared=(76 << 10) + 128)))
        # Six blocks of 256 threads are all that a small one takes.
        self.assertEqual([], wrong(80, registers=32, blocks=8))
        seven = Design("", 256, 7)
        self.assertIn(
            "sm_89: 6 blocks", wrong_occupancy(kernel_of(["EXIT"], registers=32), seven, 89, 0)[0]
        )


if __name__ == "__main__":
    sys.exit(unittest.main())
