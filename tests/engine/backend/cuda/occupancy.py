"""How many blocks of a kernel a multiprocessor takes at once, by architecture.

The figures are those of "Technical Specifications per Compute Capability" in NVIDIA's CUDA
programming guide, which libcu++ has as cuda::arch_traits (cuda/__device/arch_traits.h); how
registers and shared memory are given out, those of the toolkit's cuda_occupancy.h.
"""

from dataclasses import dataclass

KIB = 1024
WARP = 32  # threads
REGISTERS = 64 * KIB  # of a multiprocessor, in four parts
REGISTERS_OF_A_THREAD = 255
PARTS = 4
REGISTER_UNIT = 256  # a warp's are given out in these
SHARED_UNIT = 128  # bytes
RESERVED_SHARED = 1 * KIB  # of each block, beside its own


@dataclass(frozen=True)
class Multiprocessor:
    """What its blocks share."""

    shared: int  # bytes
    threads: int
    blocks: int

    @property
    def shared_of_a_block(self) -> int:
        """Bytes at most, static and dynamic together."""
        return self.shared - RESERVED_SHARED

    def resident(self, threads: int, registers: int, shared: int) -> int:
        """Blocks at once. registers: of a thread; shared: bytes of a block."""
        if registers > REGISTERS_OF_A_THREAD or shared > self.shared_of_a_block:
            return 0
        warps = _up(threads, WARP) // WARP
        of_warp = _up(registers * WARP, REGISTER_UNIT)
        by_registers = REGISTERS // PARTS // of_warp * PARTS // warps
        by_shared = self.shared // _up(shared + RESERVED_SHARED, SHARED_UNIT)
        return min(by_registers, by_shared, self.threads // (warps * WARP), self.blocks)


# Compute capability, its point left out: A100; RTX 30; L4, RTX 40; H100, H200; B200; RTX 50.
ARCHITECTURES = {
    80: Multiprocessor(shared=164 * KIB, threads=2048, blocks=32),
    86: Multiprocessor(shared=100 * KIB, threads=1536, blocks=16),
    89: Multiprocessor(shared=100 * KIB, threads=1536, blocks=24),
    90: Multiprocessor(shared=228 * KIB, threads=2048, blocks=32),
    100: Multiprocessor(shared=228 * KIB, threads=2048, blocks=32),
    120: Multiprocessor(shared=100 * KIB, threads=1536, blocks=24),
}


def running(compiled: set[int]) -> dict[int, int]:
    """Architectures that take machine code as it is -> the one whose code they take: of the
    same major number, the nearest that is not later."""
    found = {}
    for device in ARCHITECTURES:
        usable = [c for c in compiled if c // 10 == device // 10 and c <= device]
        if usable:
            found[device] = max(usable)
    return found


def _up(n: int, unit: int) -> int:
    return (n + unit - 1) // unit * unit
