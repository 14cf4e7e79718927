#ifndef KVASIR_TOKENIZER_SPELLINGS_H_
#define KVASIR_TOKENIZER_SPELLINGS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace kvasir {

// Tokens as a file spells them, found by id and by spelling. Made for the many look-ups of reading
// a file: half a million that no cache holds.
class Spellings {
 public:
  static constexpr uint32_t kNone = ~0u;

  Spellings();

  void Reserve(size_t tokens);
  // The spelling must outlive this. REQUIRES: neither is there yet.
  void Add(uint32_t id, std::string_view spelling);

  // The token's id, or kNone.
  uint32_t Find(std::string_view spelling) const;
  // Largest id + 1.
  uint32_t size() const { return static_cast<uint32_t>(by_id_.size()); }
  bool contains(uint32_t id) const { return id < by_id_.size() && by_id_[id].data() != nullptr; }
  // REQUIRES: contains(id).
  std::string_view operator[](uint32_t id) const { return by_id_[id]; }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t id = kNone;  // kNone: empty
  };

  void Insert(Slot slot);

  std::vector<std::string_view> by_id_;
  std::vector<Slot> slots_;  // Open addressing, a power of two of them, half full at most.
  size_t count_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_SPELLINGS_H_
