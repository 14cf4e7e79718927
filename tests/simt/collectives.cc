// What warps compute together, and the bodies of the built-in functions.

#include <cstring>

#include "tests/simt/block.h"
#include "tests/simt/observe.h"

namespace simt {
namespace {

float FromBf16(unsigned bits) { return __builtin_bit_cast(float, bits << 16); }
float Low(uint32_t pair) { return FromBf16(pair & 0xffff); }
float High(uint32_t pair) { return FromBf16(pair >> 16); }

// A row of eight columns: the host's vector unit does them together.
using Row = float __attribute__((vector_size(8 * sizeof(float))));
// d += a b, over k in order.
void MultiplyRows(Row (&d)[16], const float (&a)[16][16], const Row (&b)[16]) {
  constexpr int kTogether = 8;  // independent chains
  for (int first = 0; first < 16; first += kTogether) {
    Row sum[kTogether];
    for (int i = 0; i < kTogether; ++i) sum[i] = d[first + i];
    for (int k = 0; k < 16; ++k) {
      for (int i = 0; i < kTogether; ++i) sum[i] += a[first + i][k] * b[k];
    }
    for (int i = 0; i < kTogether; ++i) d[first + i] = sum[i];
  }
}

void CheckWhole(const Warp& warp, unsigned lanes) {
  if (lanes == ~0u) return;
  const Part& part = warp.parts[__builtin_ctz(lanes)];
  Fail("the whole warp must take part", part.where, "%s: lanes %08x", part.name, lanes);
}

}  // namespace

void WarpSync(unsigned mask, const char* name, const void* in, void* out, Finish finish,
              unsigned argument, Location where) {
  TheBlock().SyncWarp({name, mask, in, out, where, __builtin_return_address(0)}, finish, argument);
}
int BlockSync(BarrierResult result, int predicate, Location where) {
  return TheBlock().Sync(result, predicate, where);
}
unsigned LaneIndex() { return t_thread->lane; }
void Interrupt() { TheBlock().Interrupt(); }
void Fence() {
  observe::Fence();
  TheBlock().Interrupt();
}
void BeginAtomic(const void* word, size_t bytes) {
  TheBlock().Interrupt();
  observe::Touch(observe::Access::kAtomic, word, bytes, __builtin_return_address(0));
}

void FinishNothing(Warp&, unsigned, unsigned) {}

void FinishVote(Warp& warp, unsigned lanes, unsigned) {
  unsigned votes = 0;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const unsigned lane = __builtin_ctz(rest);
    if (*static_cast<const int*>(warp.parts[lane].in) != 0) votes |= 1u << lane;
  }
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    *static_cast<unsigned*>(warp.parts[__builtin_ctz(rest)].out) = votes;
  }
}

// Fragments as the PTX ISA lays them out, "Matrix Fragments for mma.m16n8k16".
void FinishMultiply(Warp& warp, unsigned lanes, unsigned) {
  CheckWhole(warp, lanes);
  float a[16][16];  // [M, K]
  Row b[16];        // [K, N]
  Row d[16];        // [M, N]
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const auto& in = *static_cast<const MultiplyIn*>(warp.parts[lane].in);
    const unsigned group = lane / 4;
    const unsigned pair = lane % 4 * 2;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = group + i % 2 * 8;
      const unsigned column = pair + i / 2 * 8;
      a[row][column] = Low(in.a[i]);
      a[row][column + 1] = High(in.a[i]);
    }
    for (unsigned i = 0; i < 2; ++i) {
      b[pair + i * 8][group] = Low(in.b[i]);
      b[pair + i * 8 + 1][group] = High(in.b[i]);
      d[group + i * 8][pair] = in.c[2 * i];
      d[group + i * 8][pair + 1] = in.c[2 * i + 1];
    }
  }
  MultiplyRows(d, a, b);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    auto* const out = static_cast<float*>(warp.parts[lane].out);
    const unsigned pair = lane % 4 * 2;
    for (unsigned i = 0; i < 2; ++i) {
      out[2 * i] = d[lane / 4 + i * 8][pair];
      out[2 * i + 1] = d[lane / 4 + i * 8][pair + 1];
    }
  }
  observe::Multiplied(2.0 * 16 * 8 * 16);
}

void FinishLoadMatrices(Warp& warp, unsigned lanes, unsigned transposed) {
  CheckWhole(warp, lanes);
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    uint16_t elements[8][8];
    const void* rows[8];
    for (unsigned r = 0; r < 8; ++r) {
      const Part& part = warp.parts[matrix * 8 + r];
      rows[r] = *static_cast<const void* const*>(part.in);
      if (reinterpret_cast<uintptr_t>(rows[r]) % 16 != 0) {
        Fail("ldmatrix row address is not 16-byte aligned", part.where, "lane %u: %p",
             matrix * 8 + r, rows[r]);
      }
      std::memcpy(elements[r], rows[r], sizeof(elements[r]));
    }
    observe::MatrixLoaded(warp, rows, matrix * 8, warp.parts[0].code);
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const unsigned row = lane / 4;
      const unsigned pair = lane % 4 * 2;
      const uint32_t low = transposed ? elements[pair][row] : elements[row][pair];
      const uint32_t high = transposed ? elements[pair + 1][row] : elements[row][pair + 1];
      static_cast<uint32_t*>(warp.parts[lane].out)[matrix] = low | high << 16;
    }
  }
}

// --- cp.async ----------------------------------------------------------------------------------

namespace {

void Land(const PendingCopy& copy, const void* pc) {
  observe::CopyLanded(copy.to, copy.from, pc);
  if (copy.from == nullptr) {
    std::memset(copy.to, 0, 16);
  } else {
    std::memcpy(copy.to, copy.from, 16);
  }
}

}  // namespace

void CopyAsync(void* to, const void* from, bool valid, Location where) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  if (!aligned(to) || (valid && !aligned(from))) {
    Fail("cp.async address is not 16-byte aligned", where, "to %p, from %p", to, from);
  }
  const void* const source = valid ? from : nullptr;
  t_thread->copies.push_back({to, source, t_thread->copy_group});
  observe::CopyIssued(to, source, __builtin_return_address(0));
}

void CopyAsyncCommit() {
  Thread& thread = *t_thread;
  ++thread.copy_group;
  if (!IsRandom(CurrentSchedule().order) || !TheBlock().random().OneIn(4)) return;
  for (const PendingCopy& copy : thread.copies) Land(copy, __builtin_return_address(0));
  thread.copies.clear();
}

void CopyAsyncWait(unsigned keep) {
  Thread& thread = *t_thread;
  const void* const pc = __builtin_return_address(0);
  std::erase_if(thread.copies, [&](const PendingCopy& copy) {
    const bool lands = thread.copy_group - copy.group > keep;
    if (lands) Land(copy, pc);
    return lands;
  });
}

}  // namespace simt
