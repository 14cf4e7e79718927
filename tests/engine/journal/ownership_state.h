#ifndef KVASIR_TESTS_ENGINE_JOURNAL_OWNERSHIP_STATE_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_OWNERSHIP_STATE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "engine/check.h"
#include "tests/engine/journal/ownership_model.h"

namespace kvasir::testing {

constexpr int kMostReplicas = 3, kMostClients = 2, kMostWrites = 8, kMostTokens = 4;

// 1 to kMostWrites; 0: none. A name is used again when nothing knows it any more.
using WriteName = uint8_t;

// A set of tokens 1 to 8.
constexpr uint8_t Bit(int token) { return static_cast<uint8_t>(token == 0 ? 0 : 1 << (token - 1)); }

struct SmallTokens {
  uint8_t length = 0;
  std::array<uint8_t, kMostTokens> ids = {};  // each is appended by one wish

  uint8_t SetFrom(int first) const {
    uint8_t set = 0;
    for (int i = first; i < length; ++i) set |= Bit(ids[i]);
    return set;
  }
  uint8_t Set() const { return SetFrom(0); }
  void Keep(int count) {
    while (length > count) ids[--length] = 0;
  }
  bool operator==(const SmallTokens&) const = default;
};

// All fields are bytes, so that the bytes are the state.
struct OwnershipState {
  struct Stored {
    uint8_t exists, version, fence, first_fence;
    uint8_t owner;  // a replica + 1; kept only where a rule looks at it
    WriteName write;
    uint8_t last_fence;  // that was given to anybody
    SmallTokens tokens;
  };
  struct Replica {
    uint8_t has_copy, owns;  // owns: it believes in its lease
    uint8_t version, fence;
    WriteName write;    // of the state that it has in memory
    WriteName waiting;  // for the reply to it
    SmallTokens tokens;
    bool operator==(const Replica&) const = default;
  };
  struct Message {
    Wish wish;
    uint8_t replica, client, version, fence, keep, token;
    uint8_t first, again;  // sendings that are still under way
    uint8_t repeated;      // the reply to the first cannot arrive any more
    // Nobody sees these.
    WriteName base;             // the state that it was made from
    uint8_t removes;            // the tokens that it means to remove
    uint8_t accepted, refused;  // it has happened; it was said that it never will
    bool operator==(const Message&) const = default;
  };
  struct Client {
    uint8_t step, length;  // length: what it expects
    WriteName asking;
  };
  Stored stored;
  std::array<Replica, kMostReplicas> replicas;
  std::array<Message, kMostWrites + 1> messages;     // by name
  std::array<SmallTokens, kMostWrites + 1> content;  // what each write made of the session
  std::array<Client, kMostClients> clients;
  uint8_t acknowledged, removed;  // sets of tokens

  bool IsKnown(WriteName name) const;
  // REQUIRES: there is one: replicas, the store and the messages under way know of fewer.
  WriteName UnusedName() const;
  // Makes states with the same future the same: clears what nobody can see any more, puts ranks in
  // the place of fences, of which only the order counts, and gives writes their names in one order.
  void Simplify() {
    ClearUnseen();
    RankFences();
    RenameWrites();
  }
  void ClearUnseen();
  void RankFences();
  void RenameWrites();
  // Two independent hashes of 64 bits: among millions of states no two are taken for one.
  std::pair<uint64_t, uint64_t> Key() const;
};
static_assert(std::has_unique_object_representations_v<OwnershipState>);

inline bool OwnershipState::IsKnown(WriteName name) const {
  if (stored.write == name || messages[name].first || messages[name].again) return true;
  for (const Replica& replica : replicas) {
    if (replica.write == name || replica.waiting == name) return true;
  }
  for (const Message& message : messages) {
    if (message.base == name) return true;
  }
  return false;
}

inline WriteName OwnershipState::UnusedName() const {
  WriteName name = 1;
  while (name <= kMostWrites && IsKnown(name)) ++name;
  KVASIR_CHECK(name <= kMostWrites);
  return name;
}

inline void OwnershipState::ClearUnseen() {
  for (WriteName name = 1; name <= kMostWrites; ++name) {
    bool is_awaited = false;
    for (const Replica& replica : replicas) is_awaited |= replica.waiting == name;
    if (!is_awaited && !messages[name].first && !messages[name].again) messages[name] = {};
  }
  for (WriteName name = 1; name <= kMostWrites; ++name) {
    if (!IsKnown(name)) content[name] = {};
  }
  for (Replica& replica : replicas) {
    if (!replica.owns) replica.fence = 0;  // it writes under none before it acquires again
  }
  if (messages[stored.write].wish != Wish::kCreate) stored.first_fence = 0;
}

inline void OwnershipState::RankFences() {
  std::array<uint8_t, 256> rank = {};
  const auto visit = [&](auto use) {
    use(stored.fence);
    use(stored.first_fence);
    for (Replica& replica : replicas) use(replica.fence);
    for (Message& message : messages) use(message.fence);
  };
  visit([&](uint8_t fence) { rank[fence] = 1; });
  rank[0] = stored.last_fence = 0;
  for (size_t fence = 1; fence < rank.size(); ++fence) {
    if (rank[fence] != 0) rank[fence] = ++stored.last_fence;
  }
  visit([&](uint8_t& fence) { fence = rank[fence]; });
}

inline void OwnershipState::RenameWrites() {
  std::array<WriteName, kMostWrites + 1> renamed = {};
  WriteName next = 0;
  const auto rename = [&](WriteName& name) {
    if (name != 0 && renamed[name] == 0) renamed[name] = ++next;
    name = renamed[name];
  };
  rename(stored.write);
  for (Replica& replica : replicas) rename(replica.write);
  for (Replica& replica : replicas) rename(replica.waiting);
  // The others in the order of what they are.
  std::array<WriteName, kMostWrites + 1> order = {};
  for (WriteName name = 0; name <= kMostWrites; ++name) order[name] = name;
  std::sort(order.begin() + 1, order.end(), [&](WriteName a, WriteName b) {
    return std::memcmp(&messages[a], &messages[b], offsetof(Message, base)) < 0;
  });
  for (WriteName name : order) {
    if (name != 0 && messages[name] != Message() && renamed[name] == 0) renamed[name] = ++next;
  }
  const auto old_messages = std::exchange(messages, {});
  const auto old_content = std::exchange(content, {});
  for (WriteName name : order) {
    if (old_messages[name] == Message()) continue;
    Message& message = messages[renamed[name]] = old_messages[name];
    rename(message.base);
  }
  for (WriteName name = 1; name <= kMostWrites; ++name) {
    if (renamed[name] != 0) content[renamed[name]] = old_content[name];
  }
  for (Client& client : clients) client.asking = renamed[client.asking];
}

inline std::pair<uint64_t, uint64_t> OwnershipState::Key() const {
  const std::string_view bytes(reinterpret_cast<const char*>(this), sizeof(*this));
  uint64_t a = 0x9e3779b97f4a7c15, b = 0xc2b2ae3d27d4eb4f;
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, bytes.size() - i < 8 ? bytes.size() - i : 8);
    a = (a ^ word) * 0xff51afd7ed558ccd;
    a ^= a >> 32;
    b = (b + word) * 0xc4ceb9fe1a85ec53;
    b ^= b >> 29;
  }
  return {a, b};
}

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_OWNERSHIP_STATE_H_
