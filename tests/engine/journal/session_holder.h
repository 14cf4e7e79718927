#ifndef KVASIR_TESTS_ENGINE_JOURNAL_SESSION_HOLDER_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_SESSION_HOLDER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/journal/session_store.h"

namespace kvasir::testing {

// What an engine believes of one session, and how it writes it.
struct SessionHolder {
  SessionStore* store = nullptr;
  SessionRecord record;
  std::vector<int> tokens;
  Fence fence = 0;

  SessionHolder(SessionStore& in, const std::string& id) : store(&in) { record.metadata.id = id; }
  const std::string& id() const { return record.metadata.id; }

  // On success the believed state is the written one.
  absl::Status Create(const std::vector<int>& first = {});
  absl::Status Append(const std::vector<int>& more) { return Change(tokens.size(), more); }
  // The first `keep` tokens, and `more` behind them.
  absl::Status Change(size_t keep, const std::vector<int>& more);
  absl::Status Delete();
  // Takes over what the store has; forgets what was believed.
  absl::Status Acquire();
  absl::Status Release();

  // The write that Change would do.
  SessionWrite WriteOf(size_t keep, const std::vector<int>& more) const;
  // After an OK write.
  void Accept(const SessionWrite& write);
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_SESSION_HOLDER_H_
