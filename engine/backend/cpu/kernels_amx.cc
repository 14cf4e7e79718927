// The kernel set amx: avx512bf16 with its matrix product by tiles.
#include <asm/prctl.h>
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/backend/cpu/amx_matmul-inl.h"

namespace kvasir {
namespace {

// The registers by their instructions: the compiler's intrinsics take only literal numbers.
struct HardwareTiles {
  static void Configure() {
    // Palette 1: eight registers of 16 rows of 64 bytes.
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const config;
    static_assert(sizeof(config) == 64);
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  // The system saves less of a thread that has none in use.
  static void Release() { asm volatile("tilerelease" ::); }
  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void Load(const void* from, size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void Store(void* to, size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kSums, int kA, int kB>
  static void Dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
  }
};

}  // namespace

const Kernels* AmxKernels(DType weight) {
  if (weight != DType::kBf16) return nullptr;
  static const Kernels kernels = [] {
    Kernels k = *Avx512Bf16Kernels(DType::kBf16);
    k.name = "amx";
    k.count_row_tiles = &amx::CountRowTiles;
    k.tiled_bytes = &amx::TiledBytes;
    k.tile_rows = &amx::TileRows;
    k.matmul = &amx::Matmul<HardwareTiles>;
    return k;
  }();
  return &kernels;
}

bool HasAmx() {
  constexpr int kTileData = 18;  // state component, Intel SDM volume 1, 13.1
  constexpr unsigned kBf16Bit = 1u << 22;
  constexpr unsigned kTileBit = 1u << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kBf16Bit) == 0 || (d & kTileBit) == 0) return false;
  // Linux grants the registers to a process that asks (Documentation/arch/x86/xstate.rst).
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, kTileData) == 0;
}

}  // namespace kvasir
