#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Form { kWhole, kIllFormed, kUnfinished };
struct Sequence {
  Form form;
  uint32_t bytes;  // A whole character, or the maximal subpart of an ill-formed one.
};

// The sequence at the start of `bytes` by Unicode's table 3-7 (well-formed UTF-8 byte sequences).
// REQUIRES: not empty.
Sequence ScanSequence(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {Form::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Form::kIllFormed, 1};
  const uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte has bounds of its own: no overlong form, surrogate or value past 10FFFF.
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (uint32_t i = 1; i < length; ++i, low = 0x80, high = 0xBF) {
    if (i == bytes.size()) return {Form::kUnfinished, i};
    if (at(i) < low || at(i) > high) return {Form::kIllFormed, i};
  }
  return {Form::kWhole, length};
}

}  // namespace

CodePoint DecodeLast(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return DecodeWellFormed(text.data() + begin);
}

void AppendUtf8(char32_t c, std::string& out) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

size_t WellFormedRareCharacter(std::string_view bytes) {
  const Sequence sequence = ScanSequence(bytes);
  return sequence.form == Form::kWhole ? sequence.bytes : 0;
}

size_t WellFormedPrefix(std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    if (static_cast<unsigned char>(bytes[i]) < 0x80) {
      i += AsciiPrefix(bytes.substr(i));
      continue;
    }
    const size_t size = WellFormedCharacter(bytes.substr(i));
    if (size == 0) break;
    i += size;
  }
  return i;
}

void AppendRepaired(std::string_view bytes, std::string& out, std::vector<TextEdit>* edits) {
  size_t i = 0;
  while (i < bytes.size()) {
    const size_t good = WellFormedPrefix(bytes.substr(i));
    out.append(bytes.substr(i, good));
    i += good;
    if (i == bytes.size()) break;
    const size_t bad = ScanSequence(bytes.substr(i)).bytes;
    if (edits != nullptr) {
      edits->push_back({{i, i + bad}, {out.size(), out.size() + kReplacement.size()}});
    }
    out.append(kReplacement);
    i += bad;
  }
}

size_t UnfinishedTail(std::string_view bytes) {
  for (size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;
    return ScanSequence(tail).form == Form::kUnfinished ? length : 0;
  }
  return 0;
}

}  // namespace kvasir
