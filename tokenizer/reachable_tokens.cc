#include "tokenizer/reachable_tokens.h"

namespace kvasir {
namespace {

constexpr uint32_t kNever = ~0u;

// The last of the merges that make a token of its bytes. A token is in order where each merge has a
// higher rank than those that made its parts: then its bytes merge by ascending rank.
struct Origin {
  enum State : uint8_t { kNotReached, kInOrder, kOtherwise };
  State state = kNotReached;
  uint32_t time = 0;  // The merge's rank + 1; 0: a single byte.
  uint32_t left = 0;
  uint32_t right = 0;
};

// Whether, while the bytes of `left` and of `right` merge side by side, a merge comes across the
// border before both are whole. Walks back in time along the symbols at the border: each two of
// them stand together until the next merge of one of them. REQUIRES: both are in order.
bool MergesAcross(uint32_t left, uint32_t right, const std::vector<Origin>& origins,
                  const MergeTable& table) {
  uint32_t left_ends = kNever;
  uint32_t right_ends = kNever;
  while (true) {
    const Origin& l = origins[left];
    const Origin& r = origins[right];
    if (l.time == 0 && r.time == 0) return false;
    // Of equal ranks the leftmost merges first.
    if (r.time >= l.time) {
      right = r.left;
      right_ends = r.time;
    } else {
      left = l.right;
      left_ends = l.time;
    }
    const uint32_t rank = table.Rank(left, right);
    if (rank == MergeTable::kNoRank) continue;
    if (rank + 1 < left_ends && rank + 1 <= right_ends) return true;
  }
}

}  // namespace

std::vector<uint32_t> ReachableTokens(uint32_t size, const std::array<uint32_t, 256>& byte_ids,
                                      std::span<const Merge> merges, const MergeTable& table,
                                      const std::function<bool(uint32_t id)>& merges_to) {
  std::vector<Origin> origins(size);
  for (const uint32_t id : byte_ids) origins[id].state = Origin::kInOrder;
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    Origin& result = origins[merge.result];
    if (result.state != Origin::kNotReached) continue;
    if (table.Rank(merge.left, merge.right) != rank) continue;  // The pair comes again.
    const Origin& left = origins[merge.left];
    const Origin& right = origins[merge.right];
    if (left.state != Origin::kInOrder || right.state != Origin::kInOrder) {
      if (merges_to(merge.result)) result.state = Origin::kOtherwise;
    } else if (!MergesAcross(merge.left, merge.right, origins, table)) {
      const bool in_order = rank + 1 > left.time && rank + 1 > right.time;
      result = {in_order ? Origin::kInOrder : Origin::kOtherwise, rank + 1, merge.left,
                merge.right};
    }
  }
  std::vector<uint32_t> reachable;
  for (uint32_t id = 0; id < size; ++id) {
    if (origins[id].state != Origin::kNotReached) reachable.push_back(id);
  }
  return reachable;
}

}  // namespace kvasir
