#include "engine/cache/session_key.h"

namespace kvasir {

std::string SessionKey(std::string_view tenant, std::string_view id) {
  if (tenant.empty()) return std::string(id);
  return std::string("~").append(tenant).append("/").append(id);
}

std::string EndOfKeys(std::string_view tenant) {
  if (tenant.empty()) return "~";
  return std::string("~").append(tenant).append("0");  // '0' follows '/'
}

std::string_view IdOfKey(std::string_view key) {
  return key.starts_with('~') ? key.substr(key.find('/') + 1) : key;
}

}  // namespace kvasir
