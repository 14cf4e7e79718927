#ifndef KVASIR_ENGINE_JOURNAL_OPEN_STORE_H_
#define KVASIR_ENGINE_JOURNAL_OPEN_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/journal/session_store.h"

namespace kvasir {

// --session-store: "memory" (null), "sqlite:PATH" or "redis://[:PASSWORD@]HOST:PORT/DB".
// INVALID_ARGUMENT where it is none of these.
absl::StatusOr<std::unique_ptr<SessionStore>> OpenSessionStore(const std::string& where,
                                                               const std::string& owner);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_OPEN_STORE_H_
