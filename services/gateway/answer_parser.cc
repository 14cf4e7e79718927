#include "services/gateway/answer_parser.h"

#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <utility>

namespace kvasir::gateway {
namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";
constexpr std::string_view kSpace = " \t\r\n";
constexpr int kMaxDepth = 128;

// Follows a JSON text to where the members of its outer object lie.
class CallReader : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, CallReader> {
 public:
  CallReader(const rapidjson::MemoryStream& stream, std::string_view text)
      : stream_(stream), text_(text) {}

  bool Default() { return Value(Kind::kOther); }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    if (depth_ == 1 && key_ == "name") {
      name = std::string(text, size);
      return true;
    }
    if (depth_ == 1 && key_ == "arguments") quoted = std::string(text, size);
    return Value(Kind::kOther);
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    if (depth_ != 1) return true;
    key_.assign(text, size);
    value_begin_ = stream_.Tell();
    return true;
  }
  bool StartObject() { return Open(); }
  bool StartArray() { return Open(); }
  bool EndObject(rapidjson::SizeType) {
    --depth_;
    return Value(Kind::kObject);
  }
  bool EndArray(rapidjson::SizeType) {
    --depth_;
    return depth_ > 0 && Value(Kind::kOther);
  }

  std::optional<std::string> name;
  std::optional<std::string> arguments;  // an object, as written
  std::optional<std::string> quoted;     // a string in its place

 private:
  enum class Kind { kObject, kOther };

  bool Open() { return ++depth_ <= kMaxDepth; }
  bool Value(Kind kind) {
    if (depth_ != 1) return depth_ > 1 || kind == Kind::kObject;
    if (key_ == "arguments" && kind == Kind::kObject) {
      const std::string_view member = text_.substr(value_begin_, stream_.Tell() - value_begin_);
      arguments = std::string(member.substr(member.find('{')));
    }
    return key_ != "name";  // which is a string
  }

  const rapidjson::MemoryStream& stream_;
  const std::string_view text_;
  int depth_ = 0;
  std::string key_;
  size_t value_begin_ = 0;
};

}  // namespace

std::optional<ToolCall> ParseToolCall(std::string_view json) {
  rapidjson::MemoryStream stream(json.data(), json.size());
  CallReader reader(stream, json);
  rapidjson::Reader parser;
  // The reader recurses; CallReader ends it at kMaxDepth.
  if (!parser.Parse<rapidjson::kParseValidateEncodingFlag>(stream, reader)) return std::nullopt;
  if (!reader.name.has_value() || reader.name->empty()) return std::nullopt;
  // Some models write the object as a string.
  if (!reader.arguments.has_value()) reader.arguments = std::move(reader.quoted);
  if (!reader.arguments.has_value()) return std::nullopt;
  return ToolCall{.name = *std::move(reader.name), .arguments = *std::move(reader.arguments)};
}

AnswerParser::AnswerParser(bool begins_thinking, bool parses_tool_calls)
    : parses_tool_calls_(parses_tool_calls),
      splitter_([this](ThinkingSplitter::Part part, std::string_view text) {
        if (part == ThinkingSplitter::Part::kThought) Think(text);
        if (part == ThinkingSplitter::Part::kAnswer) Answer(text);
      }) {
  if (begins_thinking) splitter_.BeginThinking();
}

AnswerPiece AnswerParser::Push(std::string_view text) {
  splitter_.Write(text);
  return std::exchange(piece_, {});
}

AnswerPiece AnswerParser::Finish() {
  splitter_.Finish();
  if (in_call_) {
    AddContent(std::string(kOpen) + pending_);
  } else if (!after_call_ || pending_.find_first_not_of(kSpace) != std::string::npos) {
    AddContent(pending_);
  }
  pending_.clear();
  return std::exchange(piece_, {});
}

void AnswerParser::Think(std::string_view text) {
  if (!thought_begun_) text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  if (text.empty()) return;
  thought_begun_ = true;
  const size_t end = text.find_last_not_of('\n') + 1;  // npos + 1 is 0
  if (end > 0) {
    piece_.reasoning += std::exchange(thought_newlines_, {});
    piece_.reasoning += text.substr(0, end);
  }
  thought_newlines_ += text.substr(end);
}

void AnswerParser::Answer(std::string_view text) {
  if (!parses_tool_calls_) return AddContent(text);
  pending_ += text;
  while (Step()) continue;
}

bool AnswerParser::Step() {
  if (in_call_) {
    const size_t end = pending_.find(kClose);
    if (end == std::string::npos) return false;
    const std::string inside = pending_.substr(0, end);
    pending_.erase(0, end + kClose.size());
    in_call_ = false;
    if (std::optional<ToolCall> call = ParseToolCall(inside)) {
      piece_.tool_calls.push_back(*std::move(call));
      after_call_ = true;
    } else {
      AddContent(std::string(kOpen).append(inside).append(kClose));
    }
    return true;
  }
  const size_t begin = pending_.find(kOpen);
  const bool opens = begin != std::string::npos;
  size_t known = opens ? begin : pending_.size() - UnfinishedWord(pending_, kOpen);
  // Space before a call belongs to the call.
  known = std::string_view(pending_).substr(0, known).find_last_not_of(kSpace) + 1;
  if (known > 0) AddContent(std::string_view(pending_).substr(0, known));
  pending_.erase(0, opens ? begin + kOpen.size() : known);
  in_call_ = opens;
  return opens;
}

void AnswerParser::AddContent(std::string_view text) {
  if (text.empty()) return;
  piece_.content += text;
  after_call_ = false;
}

}  // namespace kvasir::gateway
