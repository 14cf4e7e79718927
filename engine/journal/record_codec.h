#ifndef KVASIR_ENGINE_JOURNAL_RECORD_CODEC_H_
#define KVASIR_ENGINE_JOURNAL_RECORD_CODEC_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/journal/session_store.h"

namespace kvasir {

// The bytes of a session in a store: a record, and runs of tokens, each with a CRC-32 at its end.
// The checksums form a chain, from the record to the last run and from each run to the one before,
// so that bytes that were right once or elsewhere are found out, too: a run's checksum covers the
// session's id, the run's place and the checksum before it.
//
// Errors are DATA_LOSS (SESSION_DAMAGED) with metadata session_id and field: "metadata", or "tokens
// from N". No byte is trusted: what decodes encodes to the same bytes.

absl::Status SessionDamaged(const std::string& id, std::string_view field, std::string_view why);
// "tokens from N".
std::string TokensFrom(uint64_t start);

struct DecodedRecord {
  SessionRecord record;
  uint32_t last_run = 0;  // the checksum of the session's last run; 0 where it has no tokens
};
// Times are kept in whole nanoseconds.  REQUIRES: finite times, ttl within 300,000 years.
std::string EncodeRecord(const SessionRecord& record, uint32_t last_run);
// `id`: under which the bytes were found; a record of another session is damage.
absl::StatusOr<DecodedRecord> DecodeRecord(const std::string& id, std::string_view bytes);
// Whose record it is, wherever it was found; empty where it is damaged.
std::string IdInRecord(std::string_view bytes);

struct TokenRun {
  uint64_t start = 0;     // tokens of the session before it
  uint32_t previous = 0;  // the checksum of the run before it; 0 for the first
  std::vector<int> tokens;
  uint32_t checksum = 0;
};
// REQUIRES: tokens >= 0
std::string EncodeRun(const std::string& id, uint64_t start, uint32_t previous,
                      std::span<const int> tokens);
// `field`: the name for errors.
absl::StatusOr<TokenRun> DecodeRun(const std::string& id, std::string_view field,
                                   std::string_view bytes);

// Puts a session's tokens together from its runs, in their order, and checks the chain.
class TokensReader {
 public:
  explicit TokensReader(const DecodedRecord& record) : record_(record) {}
  absl::Status Append(std::string_view run);
  // REQUIRES: every Append was OK.
  absl::StatusOr<std::vector<int>> Finish();

 private:
  absl::Status Damaged(std::string_view why) const;

  const DecodedRecord& record_;
  std::vector<int> tokens_;
  uint32_t last_run_ = 0;
};

// How tokens are cut into runs. An append is merged into the last run while that has fewer than
// kShortRun tokens: a session of many short turns has less than one run per kShortRun tokens, and
// an append rewrites less than kShortRun tokens, however long the session. No run has more than
// kLongestRun tokens, so a cut anywhere rewrites less than that.
constexpr size_t kShortRun = 256;
constexpr size_t kLongestRun = 4096;

struct RunsChange {
  struct Run {
    uint64_t start = 0;
    std::string bytes;
  };
  uint64_t from = 0;      // all runs that start here or later go,
  std::vector<Run> runs;  // and these take their place
  uint32_t last_run = 0;  // for the record
};
// What `write` does to its session's runs. `last`: the run that holds token write.keep - 1; null
// where keep == 0. DATA_LOSS where that run does not hold it.
absl::StatusOr<RunsChange> ChangeRuns(const SessionWrite& write, const TokenRun* last);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_RECORD_CODEC_H_
