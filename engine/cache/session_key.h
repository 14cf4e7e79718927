#ifndef KVASIR_ENGINE_CACHE_SESSION_KEY_H_
#define KVASIR_ENGINE_CACHE_SESSION_KEY_H_

#include <string>
#include <string_view>

namespace kvasir {

// Ids of sessions are each tenant's own: in tables and stores a session goes by a key of both, so
// that no tenant can come upon another's, be it by guessing. Of the tenant without a name it is the
// id; of others "~TENANT/ID". Neither ids nor names of tenants have '~' or '/' in them, and '~' is
// behind all that they have.
//
// All keys of a tenant lie together: behind SessionKey(tenant, "") and before EndOfKeys(tenant).
std::string SessionKey(std::string_view tenant, std::string_view id);
std::string EndOfKeys(std::string_view tenant);
std::string_view IdOfKey(std::string_view key);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_CACHE_SESSION_KEY_H_
