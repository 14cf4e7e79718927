#ifndef KVASIR_TOKENIZER_REACHABLE_TOKENS_H_
#define KVASIR_TOKENIZER_REACHABLE_TOKENS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tokenizer/merge_table.h"

namespace kvasir {

// The tokens that their own bytes merge into, ascending: all but those before which other merges
// come. `merges_to(id)` merges a token's bytes and says whether it is what they become: it is asked
// for the few of which the ranks do not tell. REQUIRES: all ids are less than `size`; `table` is
// that of `merges`.
std::vector<uint32_t> ReachableTokens(uint32_t size, const std::array<uint32_t, 256>& byte_ids,
                                      std::span<const Merge> merges, const MergeTable& table,
                                      const std::function<bool(uint32_t id)>& merges_to);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_REACHABLE_TOKENS_H_
