#include "tests/simt/banks.h"

#include <algorithm>

#include "tests/simt/include/simt_counts.h"

namespace simt {
namespace {

constexpr unsigned kBanks = 32;
constexpr unsigned kWordBytes = 4;

// Of the lanes [first, end): the fullest bank's distinct words.
unsigned FullestBank(const WarpAccess& access, unsigned first, unsigned end) {
  uintptr_t words[kLanes * 4];
  unsigned count = 0;
  for (unsigned lane = first; lane < end; ++lane) {
    if ((access.lanes >> lane & 1) == 0) continue;
    const uintptr_t last = (access.addresses[lane] + access.bytes - 1) / kWordBytes;
    for (uintptr_t word = access.addresses[lane] / kWordBytes; word <= last; ++word) {
      words[count++] = word;
    }
  }
  std::sort(words, words + count);
  const uintptr_t* const distinct = std::unique(words, words + count);
  unsigned by_bank[kBanks] = {};
  unsigned fullest = 0;
  for (const uintptr_t* word = words; word != distinct; ++word) {
    fullest = std::max(fullest, ++by_bank[*word % kBanks]);
  }
  return fullest;
}

}  // namespace

Wavefronts CountWavefronts(const WarpAccess& access) {
  const unsigned phases = std::max(1u, access.bytes / kWordBytes);
  const unsigned step = kLanes / phases;
  Wavefronts result;
  for (unsigned first = 0; first < kLanes; first += step) {
    const unsigned needed = FullestBank(access, first, first + step);
    result.needed += needed;
    result.least += needed != 0;
  }
  return result;
}

unsigned ListSectors(const WarpAccess& access, uintptr_t* sectors) {
  unsigned count = 0;
  for (unsigned rest = access.lanes; rest != 0; rest &= rest - 1) {
    const uintptr_t address = access.addresses[__builtin_ctz(rest)];
    const uintptr_t last = (address + access.bytes - 1) / kSectorBytes;
    for (uintptr_t sector = address / kSectorBytes; sector <= last; ++sector) {
      if (count == 0 || sectors[count - 1] != sector) sectors[count++] = sector;
    }
  }
  std::sort(sectors, sectors + count);
  return static_cast<unsigned>(std::unique(sectors, sectors + count) - sectors);
}

}  // namespace simt
