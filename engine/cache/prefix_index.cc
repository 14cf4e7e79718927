#include "engine/cache/prefix_index.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/check.h"

namespace kvasir {
namespace {

PrefixIndex::Key ToKey(XXH128_hash_t hash) { return {hash.low64, hash.high64}; }

}  // namespace

PrefixIndex::PrefixIndex(int num_blocks, uint64_t secret)
    : secret_(secret),
      entries_(num_blocks),
      buckets_(std::bit_ceil(static_cast<size_t>(num_blocks) + 1), -1) {}

PrefixIndex::Key PrefixIndex::Root(std::string_view tenant) const {
  return ToKey(XXH3_128bits_withSeed(tenant.data(), tenant.size(), secret_));
}

PrefixIndex::Key PrefixIndex::Extend(Key before, Tokens tokens) const {
  std::array<char, sizeof(Key) + kBlockTokens * sizeof(int)> bytes;
  std::memcpy(bytes.data(), &before, sizeof(Key));
  std::memcpy(bytes.data() + sizeof(Key), tokens.data(), tokens.size_bytes());
  return ToKey(XXH3_128bits_withSeed(bytes.data(), bytes.size(), secret_));
}

int PrefixIndex::Find(Key key, Tokens tokens) const {
  for (int block = buckets_[BucketOf(key)]; block >= 0; block = entries_[block].next) {
    const Entry& entry = entries_[block];
    if (entry.key == key && std::equal(tokens.begin(), tokens.end(), entry.tokens.begin())) {
      return block;
    }
  }
  return -1;
}

void PrefixIndex::Insert(int block, Key key, Tokens tokens) {
  Entry& entry = entries_[block];
  KVASIR_CHECK(!entry.has_key);
  entry.has_key = true;
  entry.key = key;
  if (Find(key, tokens) >= 0) return;
  std::copy(tokens.begin(), tokens.end(), entry.tokens.begin());
  int& bucket = buckets_[BucketOf(key)];
  entry.next = bucket;
  entry.listed = true;
  bucket = block;
}

void PrefixIndex::Erase(int block) {
  Entry& entry = entries_[block];
  if (entry.listed) {
    int* link = &buckets_[BucketOf(entry.key)];
    while (*link != block) link = &entries_[*link].next;
    *link = entry.next;
  }
  entry.listed = entry.has_key = false;
}

}  // namespace kvasir
