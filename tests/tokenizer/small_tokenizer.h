#ifndef KVASIR_TESTS_TOKENIZER_SMALL_TOKENIZER_H_
#define KVASIR_TESTS_TOKENIZER_SMALL_TOKENIZER_H_

#include <rapidjson/document.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace kvasir {

// A tokenizer.json made by hand: the 256 bytes have their own values as ids; 256 and up are, in
// this order, "he", "ll", "hell", "hello", "Ġhello" (each by the one obvious merge).
// Added: 261 "<|end|>" (special), 262 "<tool>".
inline constexpr uint32_t kSmallHe = 256, kSmallLl = 257, kSmallHell = 258, kSmallHello = 259,
                          kSmallSpaceHello = 260, kSmallEnd = 261, kSmallTool = 262;
rapidjson::Document SmallTokenizerJson();

// {"id": id, "content": content, ...} with every flag false but those named.
std::string AddedTokenJson(uint32_t id, const std::string& content,
                           const std::vector<std::string>& flags = {});

std::string ToText(const rapidjson::Document& json);

// Sets what `pointer` (RFC 6901, such as "/model/type") names to the JSON value `value`.
void SetJson(rapidjson::Document& json, const std::string& pointer, const std::string& value);

// SmallTokenizerJson with `edits` (pointer, value), and a tokenizer_config.json, read. REQUIRES: it
// can be.
std::unique_ptr<Tokenizer> SmallTokenizer(
    const std::vector<std::pair<std::string, std::string>>& edits = {},
    const std::string& tokenizer_config = "{}");

}  // namespace kvasir

#endif  // KVASIR_TESTS_TOKENIZER_SMALL_TOKENIZER_H_
