#ifndef KVASIR_TESTS_SERVICES_HUB_SMALL_HUB_MODEL_H_
#define KVASIR_TESTS_SERVICES_HUB_SMALL_HUB_MODEL_H_

#include <map>
#include <string>

#include "tests/services/hub/hub_server.h"

namespace kvasir::testing {

// The files of a model in two shards as a hub has them, among others that Kvasir does not read.
// Only config.json says something.
std::map<std::string, HubServer::File> SmallHubModel();

// So many bytes that look like chance, the same each time.
std::string SomeBytes(size_t size, unsigned seed);

// All of a file; empty where there is none.
std::string TextOf(const std::string& path);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_HUB_SMALL_HUB_MODEL_H_
