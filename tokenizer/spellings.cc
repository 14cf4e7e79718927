#include "tokenizer/spellings.h"

#include <xxhash.h>

#include <bit>
#include <utility>

namespace kvasir {
namespace {

uint32_t HashOf(std::string_view spelling) {
  return static_cast<uint32_t>(XXH3_64bits(spelling.data(), spelling.size()));
}

}  // namespace

Spellings::Spellings() : slots_(2) {}

void Spellings::Reserve(size_t tokens) {
  by_id_.reserve(tokens);
  if (slots_.size() >= 2 * tokens) return;
  std::vector<Slot> old(std::bit_ceil(2 * tokens));
  std::swap(slots_, old);
  for (const Slot& slot : old) {
    if (slot.id != kNone) Insert(slot);
  }
}

void Spellings::Add(uint32_t id, std::string_view spelling) {
  if (2 * ++count_ > slots_.size()) Reserve(2 * count_);
  if (id >= by_id_.size()) by_id_.resize(id + size_t{1});
  by_id_[id] = spelling;
  Insert({HashOf(spelling), id});
}

uint32_t Spellings::Find(std::string_view spelling) const {
  const uint32_t hash = HashOf(spelling);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i].id != kNone; i = (i + 1) & mask) {
    if (slots_[i].hash == hash && by_id_[slots_[i].id] == spelling) return slots_[i].id;
  }
  return kNone;
}

void Spellings::Insert(Slot slot) {
  const size_t mask = slots_.size() - 1;
  size_t i = slot.hash & mask;
  while (slots_[i].id != kNone) i = (i + 1) & mask;
  slots_[i] = slot;
}

}  // namespace kvasir
