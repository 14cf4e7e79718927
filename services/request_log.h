#ifndef KVASIR_SERVICES_REQUEST_LOG_H_
#define KVASIR_SERVICES_REQUEST_LOG_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "services/request_record.h"

namespace kvasir {

// One line for each RPC, in the log. REQUIRES: StartLogging was called before anything is written.
class RequestLog {
 public:
  // `prompts`: with what callers sent to be processed.
  explicit RequestLog(bool prompts) : prompts_(prompts) {}

  bool prompts() const { return prompts_; }
  // At level info; a fault of ours at level error.
  void Write(const RequestRecord& record) const;

  // The line's fields, in both forms.
  struct Line {
    std::string text;  // request name=value ...
    std::string json;  // {"name":value,...}
  };
  static Line Format(const RequestRecord& record);

 private:
  const bool prompts_;
};

// For RequestRecord::prompt; what is very long is cut.
std::string PromptOfIds(std::span<const uint32_t> ids);
std::string PromptOfText(std::string_view text);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_REQUEST_LOG_H_
