#ifndef KVASIR_ENGINE_JOURNAL_REDIS_REPLY_H_
#define KVASIR_ENGINE_JOURNAL_REDIS_REPLY_H_

#include <hiredis/hiredis.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/journal/redis_connection.h"
#include "engine/journal/redis_scripts.h"

namespace kvasir {

inline RedisCall ScriptCall(RedisScript script, std::vector<std::string> arguments) {
  return {.script = static_cast<int>(script), .words = std::move(arguments)};
}

inline bool IsError(const redisReply& reply) { return reply.type == REDIS_REPLY_ERROR; }

// Of a string, a status or an error; empty for all else.
inline std::string_view Text(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

// Of an array; where it has no such element, something that is nil.
inline const redisReply& Element(const redisReply& reply, size_t i) {
  static constexpr redisReply kNil = {.type = REDIS_REPLY_NIL};
  return reply.type == REDIS_REPLY_ARRAY && i < reply.elements ? *reply.element[i] : kNil;
}

inline std::string_view ElementText(const redisReply& reply, size_t i) {
  return Text(Element(reply, i));
}

}  // namespace kvasir

#endif  // KVASIR_ENGINE_JOURNAL_REDIS_REPLY_H_
