#include "engine/journal/open_store.h"

#include <string_view>

#include "absl/strings/str_cat.h"

namespace kvasir {

absl::StatusOr<std::unique_ptr<SessionStore>> OpenSessionStore(const std::string& where,
                                                               const std::string& owner) {
  constexpr std::string_view kSqlite = "sqlite:";
  if (where == "memory") return nullptr;
  if (where.starts_with(kSqlite)) return OpenSqliteStore(where.substr(kSqlite.size()));
  if (where.starts_with("redis:")) return OpenRedisStore(where, owner);
  // What it is may hold a password.
  return absl::InvalidArgumentError(
      absl::StrCat("--session-store: '", where.substr(0, where.find(':')),
                   "' is none of memory, sqlite:PATH, redis://[:PASSWORD@]HOST:PORT/DB"));
}

}  // namespace kvasir
