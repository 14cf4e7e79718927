#ifndef KVASIR_SERVICES_LOG_H_
#define KVASIR_SERVICES_LOG_H_

#include <spdlog/common.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace kvasir {

enum class LogFormat { kText, kJson };

// From now on what is logged with spdlog goes to stderr, a line each: as text, or as JSON objects
// with time, level and message. `level`: debug, info, warning, error, off. To be called once.
//
// A reader that does not read holds up nobody: what a full pipe does not take within a moment is
// dropped, and so is all else until there is room again.
void StartLogging(const std::string& level, LogFormat format);

// Logs a request: `text`, or the members of `json`, an object, as StartLogging has chosen.
// REQUIRES: StartLogging was called.
void LogRequest(spdlog::level::level_enum level, std::string_view text, std::string_view json);
bool LogsRequests(spdlog::level::level_enum level);

// Lines that were dropped.
uint64_t DroppedLogLines();

// `text` where it is UTF-8; else with a question mark for every byte beyond ASCII.
std::string AsUtf8(std::string_view text);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_LOG_H_
