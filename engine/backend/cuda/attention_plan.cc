#include "engine/backend/cuda/attention_plan.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kvasir::cuda {
namespace {

constexpr int kManyRows = 4 * kTileRows;

int CeilDivide(int a, int b) { return (a + b - 1) / b; }

// Calls visit(tile, few) for the rows of each tile, with all the spans that its last row sees; a
// sequence's last rows, which have the most to do, come first.
template <class Visit>
void ForEachRowTile(const Batch& batch, int group, Visit visit) {
  for (int s = 0; s < batch.num_sequences(); ++s) {
    const int begin = batch.query_start[s];
    const int end = batch.query_start[s + 1];
    const bool few = (end - begin) * group <= kTileRows;
    const int tile_tokens = (few ? kTileRows : kManyRows) / group;
    for (int i = CeilDivide(end - begin, tile_tokens) - 1; i >= 0; --i) {
      AttentionTile tile;
      tile.sequence = s;
      tile.table = s * batch.max_blocks;
      tile.first_token = begin + i * tile_tokens;
      tile.tokens = std::min(tile_tokens, end - tile.first_token);
#if defined(BUG_PLAN_FIRST_ROWS_SPANS)
      const int last = tile.first_token;  // planted: later rows of the tile may see more
#else
      const int last = tile.first_token + tile.tokens - 1;
#endif
#if defined(BUG_PLAN_SPAN_EDGE)
      tile.spans = std::max(1, CeilDivide(batch.positions[last], kSpanKeys));  // planted: its own
#else
      tile.spans = CeilDivide(batch.positions[last] + 1, kSpanKeys);
#endif
      visit(tile, few);
    }
  }
}

// Which tiles are cut by spans.
struct Cut {
  bool many = false;
  int min_spans = 2;

  bool Takes(const AttentionTile& tile, bool few) const {
    return (few || many) && tile.spans >= min_spans;
  }
};

int64_t StatesOf(const Batch& batch, int group, const Cut& cut) {
  int64_t states = 0;
  ForEachRowTile(batch, group, [&](const AttentionTile& tile, bool few) {
    if (cut.Takes(tile, few)) states += int64_t{1} * tile.spans * tile.tokens * group;
  });
  return states;
}

Cut ChooseCut(const Batch& batch, const AttentionGrid& grid, int max_states) {
  int64_t many_tiles = 0;
  ForEachRowTile(batch, grid.group, [&](const AttentionTile&, bool few) { many_tiles += !few; });
  Cut cut;
  cut.many = many_tiles * grid.kv_heads < grid.many_blocks;
  // Where there is no room for all, it goes to the longest: they would be waited for.
  while (StatesOf(batch, grid.group, cut) > max_states) cut.min_spans *= 2;
  return cut;
}

}  // namespace

AttentionRoom RoomForAttention(const AttentionGrid& grid, int max_tokens, int max_sequences,
                               int max_context, size_t max_partial_bytes) {
  const int64_t spans = CeilDivide(max_context, kSpanKeys);
  const int64_t few_rows = std::min<int64_t>(max_sequences, max_tokens);
  // A sequence's last tile may be short.
#if defined(BUG_PLAN_ROOM)
  const int64_t many_rows = max_tokens / (kManyRows / grid.group) + 1;  // planted: only one is
#else
  const int64_t many_rows = max_tokens / (kManyRows / grid.group) + few_rows;
#endif
  const int64_t all_states = spans * max_tokens * grid.group;
  const int64_t state_bytes =
      int64_t{sizeof(float)} * grid.kv_heads * (grid.head_dim + kStateExtra);

  AttentionRoom room;
  room.states =
      static_cast<int>(std::min({all_states, static_cast<int64_t>(max_partial_bytes) / state_bytes,
                                 int64_t{std::numeric_limits<int>::max()}}));
  // A tile that is cut has at least G states a part.
  const int64_t parts = room.states / grid.group;
  room.few_tiles = static_cast<int>(std::min(few_rows * spans, few_rows + parts));
  room.many_tiles = static_cast<int>(std::min(many_rows * spans, many_rows + parts));
  room.tickets = static_cast<int>(std::min(few_rows + many_rows, parts / 2));
  return room;
}

void PlanAttention(const Batch& batch, const AttentionGrid& grid, const AttentionRoom& room,
                   AttentionPlan& plan) {
  plan.few.clear();
  plan.many.clear();
  plan.states = 0;
  plan.tickets = 0;
  const Cut cut = ChooseCut(batch, grid, room.states);
  ForEachRowTile(batch, grid.group, [&](AttentionTile tile, bool few) {
    std::vector<AttentionTile>& tiles = few ? plan.few : plan.many;
    if (!cut.Takes(tile, few)) {
      tiles.push_back(tile);
      return;
    }
    tile.parts = tile.spans;
    tile.spans = 1;
#if defined(BUG_PLAN_SHARED_STATES)
    tile.first_state = few ? plan.states : 0;  // planted: those of tiles of few rows
#else
    tile.first_state = plan.states;
#endif
#if defined(BUG_PLAN_SHARED_TICKETS)
    tile.ticket = few ? plan.tickets++ : 0;  // planted: that of another tile
#else
    tile.ticket = plan.tickets++;
#endif
    plan.states += tile.parts * tile.tokens * grid.group;
    for (tile.part = 0; tile.part < tile.parts; ++tile.part) {
      tile.first_span = tile.part;
      tiles.push_back(tile);
    }
  });
}

}  // namespace kvasir::cuda
