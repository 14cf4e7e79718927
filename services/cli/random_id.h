#ifndef KVASIR_SERVICES_CLI_RANDOM_ID_H_
#define KVASIR_SERVICES_CLI_RANDOM_ID_H_

#include <string>

namespace kvasir::cli {

// 128 random bits in hex: a session's id, or a request's.
std::string RandomId();

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_RANDOM_ID_H_
