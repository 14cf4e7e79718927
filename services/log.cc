#include "services/log.h"

#include <poll.h>
#include <rapidjson/encodings.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace kvasir {
namespace {

constexpr char kRequestLogger[] = "request";
// So long a reader may be busy with something else.
constexpr int kPatienceMilliseconds = 100;
// A pipe that has room for anything takes a page.
constexpr size_t kPipePage = 4096;

std::atomic<uint64_t> g_dropped = 0;
// Set by StartLogging.
std::shared_ptr<spdlog::logger> g_requests;
LogFormat g_format = LogFormat::kText;

// Writes to stderr, and only what it takes at once.
class PatientSink final : public spdlog::sinks::base_sink<std::mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string_view rest(line.data(), line.size());
    // The end of a line that was cut: what follows is a line of its own.
    if (cut_ && HasRoom()) cut_ = write(STDERR_FILENO, "\n", 1) != 1;
    if (cut_) {
      ++g_dropped;
      return;
    }
    const size_t length = rest.size();
    while (!rest.empty()) {
      const ssize_t written =
          HasRoom() ? write(STDERR_FILENO, rest.data(), std::min(rest.size(), kPipePage)) : -1;
      if (written < 0) {
        ++g_dropped;
        cut_ = rest.size() < length;
        return;
      }
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }
  void flush_() override {}

  // Waits for it, unless the last one waited in vain.
  bool HasRoom() {
    pollfd ready = {STDERR_FILENO, POLLOUT, 0};
    const bool has_room =
        poll(&ready, 1, stuck_ ? 0 : kPatienceMilliseconds) == 1 && (ready.revents & POLLOUT) != 0;
    stuck_ = !has_room;
    return has_room;
  }

  bool stuck_ = false;
  bool cut_ = false;  // the last line has no end
};

void Append(spdlog::memory_buf_t& to, std::string_view text) {
  to.append(text.data(), text.data() + text.size());
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const std::string_view name(message.logger_name.data(), message.logger_name.size());
    const std::string_view payload(message.payload.data(), message.payload.size());
    const bool request = name == kRequestLogger;
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
    const auto member = [&](const char* key, const std::string& value) {
      json.Key(key);
      json.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
    };
    json.StartObject();
    member("time", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::FromChrono(message.time),
                                    absl::UTCTimeZone()));
    const auto level = spdlog::level::to_string_view(message.level);
    member("level", std::string(level.data(), level.size()));
    member("message", request ? kRequestLogger : AsUtf8(payload));
    json.EndObject();
    const std::string_view head(buffer.GetString(), buffer.GetSize());
    if (request) {
      Append(line, head.substr(0, head.size() - 1));
      Append(line, ",");
      Append(line, payload.substr(1));
    } else {
      Append(line, head);
    }
    Append(line, "\n");
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

}  // namespace

void StartLogging(const std::string& level, LogFormat format) {
  spdlog::sink_ptr sink;
  if (isatty(STDERR_FILENO) != 0) {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  } else {
    sink = std::make_shared<PatientSink>();
  }
  if (format == LogFormat::kJson) {
    sink->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  }
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("kvasir", sink));
  g_requests = std::make_shared<spdlog::logger>(kRequestLogger, sink);
  const auto threshold = spdlog::level::from_str(level);
  spdlog::set_level(threshold);
  g_requests->set_level(threshold);
  g_format = format;
}

bool LogsRequests(spdlog::level::level_enum level) { return g_requests->should_log(level); }

void LogRequest(spdlog::level::level_enum level, std::string_view text, std::string_view json) {
  const std::string_view line = g_format == LogFormat::kJson ? json : text;
  g_requests->log(level, spdlog::string_view_t(line.data(), line.size()));
}

uint64_t DroppedLogLines() { return g_dropped; }

std::string AsUtf8(std::string_view text) {
  rapidjson::MemoryStream bytes(text.data(), text.size());
  rapidjson::StringBuffer copy;
  while (bytes.Tell() < text.size()) {
    if (rapidjson::UTF8<>::Validate(bytes, copy)) continue;
    std::string ascii(text);
    for (char& c : ascii) c = static_cast<unsigned char>(c) < 0x80 ? c : '?';
    return ascii;
  }
  return std::string(text);
}

}  // namespace kvasir
