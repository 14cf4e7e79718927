#ifndef KVASIR_SERVICES_GATEWAY_PAGE_FILES_H_
#define KVASIR_SERVICES_GATEWAY_PAGE_FILES_H_

#include <map>
#include <string_view>

namespace kvasir::gateway {

// The files of services/gateway/page, by their names.
const std::map<std::string_view, std::string_view>& PageFiles();

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_PAGE_FILES_H_
