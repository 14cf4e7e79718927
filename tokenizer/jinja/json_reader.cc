#include "tokenizer/jinja/json_reader.h"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/limits.h"

namespace kvasir::jinja {
namespace {

// Builds the value from RapidJSON's events; false stops the reader.
class Builder {
 public:
  bool Null() { return Add(Value(Value::None())); }
  bool Bool(bool value) { return Add(Value(value)); }
  bool Int(int value) { return Add(Value(int64_t{value})); }
  bool Uint(unsigned value) { return Add(Value(int64_t{value})); }
  bool Int64(int64_t value) { return Add(Value(value)); }
  bool Uint64(uint64_t value) {
    if (value <= static_cast<uint64_t>(INT64_MAX)) return Add(Value(static_cast<int64_t>(value)));
    status_ = Invalid({"the integer ", std::to_string(value), " does not fit 64 signed bits"});
    return false;
  }
  bool Double(double value) { return Add(Value(value)); }
  bool RawNumber(const char*, rapidjson::SizeType, bool) { return false; }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    return Add(Value(Text(std::string_view(text, size), /*trusted=*/false)));
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    open_.back().keys.push_back(
        std::make_shared<const Text>(std::string_view(text, size), /*trusted=*/false));
    return true;
  }
  bool StartObject() { return Open(); }
  bool StartArray() { return Open(); }
  bool EndObject(rapidjson::SizeType) {
    Container container = Close();
    Dict dict;
    for (size_t i = 0; i < container.keys.size(); ++i) {
      dict.Set(std::move(container.keys[i]), std::move(container.values[i]));
    }
    return Add(Value(std::move(dict)));
  }
  bool EndArray(rapidjson::SizeType) { return Add(Value(List(std::move(Close().values)))); }

  const absl::Status& status() const { return status_; }
  Value TakeResult() { return std::move(result_); }

 private:
  struct Container {
    std::vector<std::shared_ptr<const Text>> keys;
    std::vector<Value> values;
  };

  bool Open() {
    if (open_.size() >= kMaxDepth) {
      status_ = Exhausted({"the JSON nests deeper than ", std::to_string(kMaxDepth)});
      return false;
    }
    open_.emplace_back();
    return true;
  }
  Container Close() {
    Container container = std::move(open_.back());
    open_.pop_back();
    return container;
  }
  bool Add(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else {
      open_.back().values.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Container> open_;
  Value result_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<Value> ReadJson(std::string_view json) {
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseFullPrecisionFlag |
                              rapidjson::kParseValidateEncodingFlag;
  rapidjson::MemoryStream memory(json.data(), json.size());
  rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(memory);
  Builder builder;
  rapidjson::Reader reader;
  const rapidjson::ParseResult parsed = reader.Parse<kFlags>(stream, builder);
  if (!builder.status().ok()) return builder.status();
  if (parsed.IsError()) {
    return Invalid({rapidjson::GetParseError_En(parsed.Code()), " (at byte ",
                    std::to_string(parsed.Offset()), ")"});
  }
  return builder.TakeResult();
}

}  // namespace kvasir::jinja
