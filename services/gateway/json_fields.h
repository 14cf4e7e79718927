#ifndef KVASIR_SERVICES_GATEWAY_JSON_FIELDS_H_
#define KVASIR_SERVICES_GATEWAY_JSON_FIELDS_H_

#include <rapidjson/document.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace kvasir::gateway {

// INVALID_ARGUMENT that names the field as clients write it, such as messages[1].content.
absl::Status FieldError(std::string_view field, std::string_view what);

// The members of a JSON object, one after the other; null is as good as absent. The first thing
// that is wrong is remembered, and all that follows reads as absent.
class JsonFields {
 public:
  // `path`: of the object within the request; empty: it is the request.
  // REQUIRES: `object` is an object, and outlives this.
  JsonFields(const rapidjson::Value& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  // Null where it is absent.
  const rapidjson::Value* Find(const char* name);
  std::optional<std::string> String(const char* name);
  std::optional<bool> Bool(const char* name);
  std::optional<double> Number(const char* name, double least, double most);
  std::optional<int64_t> Integer(const char* name,
                                 int64_t least = std::numeric_limits<int64_t>::min(),
                                 int64_t most = std::numeric_limits<int64_t>::max());
  const rapidjson::Value* Array(const char* name);
  const rapidjson::Value* Object(const char* name);
  // What has no effect on an answer here, whatever it is.
  void Ignore(std::initializer_list<const char*> names);

  void Fail(std::string_view name, std::string_view what);
  // Of an object within this one.
  void Fail(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }
  // Nothing was wrong so far.
  bool ok() const { return status_.ok(); }
  // Refuses members that nobody asked for.
  absl::Status Finish();
  std::string PathOf(std::string_view name) const;

 private:
  const rapidjson::Value& object_;
  const std::string path_;
  std::set<std::string_view> known_;
  absl::Status status_;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_JSON_FIELDS_H_
