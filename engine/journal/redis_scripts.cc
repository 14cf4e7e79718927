#include "engine/journal/redis_scripts.h"

#include <string_view>

namespace kvasir {
namespace {

// Every script begins with it.
constexpr std::string_view kWords = R"lua(
local IDS, EXPIRY, COUNTER = 'kvasir:ids', 'kvasir:expiry', 'kvasir:fence'
local AGAIN = ARGV[#ARGV] == '1'  -- the same call may have been executed before

local function RecordKey(id) return 'kvasir:s:' .. id .. ':record' end
local function RunsKey(id) return 'kvasir:s:' .. id .. ':runs' end

local function Is(key, kind)
  local found = redis.call('TYPE', key)['ok']
  return found == kind or found == 'none'
end

local function NowUs()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function NowMs() return math.floor(NowUs() / 1000) end

local function Digits(number) return string.format('%.0f', number) end

-- Larger than every fence before it, and than the time: were the counter lost, or the whole Redis
-- put back to an older state, it would still not meet a fence that somebody holds.
local function NextFence()
  local last = tonumber(redis.call('GET', COUNTER) or '0') or 0
  if not (last < 2^52) then last = 0 end
  local fence = Digits(math.max(last + 1, NowMs()))
  redis.call('SET', COUNTER, fence)
  return fence
end

-- No lease ends later than `lease` ms from now: what does was written under another clock.
local function IsHeld(lease_until, lease)
  local ends, now = tonumber(lease_until or '0') or 0, NowMs()
  return now < ends and ends <= now + lease
end

local function Exists(id)
  return redis.call('EXISTS', RecordKey(id), RunsKey(id)) > 0 or redis.call('ZSCORE', IDS, id)
end

-- Of a session that is used now; `ttl` is empty where it has none.
local function SetExpiry(id, ttl)
  if ttl == '' then
    redis.call('ZREM', EXPIRY, id)
  else
    redis.call('ZADD', EXPIRY, Digits(NowUs() + tonumber(ttl)), id)
  end
end

-- The time, where it has been idle so long by now; else empty.
local function DueAt(id)
  local now, ends = NowUs(), redis.call('ZSCORE', EXPIRY, id)
  return ends and tonumber(ends) <= now and Digits(now) or ''
end

local function Push(id, first, count)
  for i = first, first + count - 1 do redis.call('RPUSH', RunsKey(id), ARGV[i]) end
end

local function Remove(id)
  redis.call('DEL', RecordKey(id), RunsKey(id))
  redis.call('ZREM', IDS, id)
  redis.call('ZREM', EXPIRY, id)
end

if not Is(IDS, 'zset') or not Is(EXPIRY, 'zset') or not Is(COUNTER, 'string') then
  return redis.error_reply('WRONGTYPE of kvasir:ids, kvasir:expiry or kvasir:fence')
end
)lua";

// Of scripts for one session.
constexpr std::string_view kOneSession = R"lua(
local id = ARGV[1]
if not Is(RecordKey(id), 'hash') then return {'DAMAGED', 'metadata'} end
if not Is(RunsKey(id), 'list') then
  return {'DAMAGED', 'tokens from 0', redis.call('HGET', RecordKey(id), 'record')}
end
)lua";

// THE RULE: what lets a write through. Where the stored state was made by this very write, it came
// twice: nothing is left to do. The stored fence must be the writer's: nobody has acquired the
// session since. The stored version must be the one that it was made from. That a lease has ended
// matters not, as long as nobody has taken it.
// A write that is sent again and does not fit may have happened the first time, before what has
// happened since: nobody can tell.
// All behaviours of this rule in the small: tests/engine/journal/ownership_model.h.
constexpr std::string_view kWriteRule = R"lua(
local write, fence, version = ARGV[2], ARGV[3], ARGV[4]
local stored = redis.call('HMGET', RecordKey(id), 'fence', 'version', 'write', 'runs')
if not stored[1] and Exists(id) then return {'DAMAGED', 'metadata'} end
if stored[3] == write then return {'OK'} end
if stored[1] ~= fence or stored[2] ~= version then return {AGAIN and 'UNKNOWN' or 'STALE'} end
)lua";

// ARGV: id, write, owner, lease, record, ttl, count of runs, runs.
// A session that is damaged, too, keeps its id taken.
constexpr std::string_view kCreate = R"lua(
local id, write, owner, lease, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[7]
if Exists(id) then
  if not Is(RecordKey(id), 'hash') then return {'EXISTS'} end
  local stored = redis.call('HMGET', RecordKey(id), 'write', 'first_fence')
  if stored[1] == write then return {'OK', stored[2]} end
  return {AGAIN and 'UNKNOWN' or 'EXISTS'}
end
local fence = NextFence()
redis.call('HSET', RecordKey(id), 'record', ARGV[5], 'version', '1', 'runs', count,
  'write', write, 'first_fence', fence, 'fence', fence, 'owner', owner,
  'lease_until', Digits(NowMs() + lease))
Push(id, 8, tonumber(count))
redis.call('ZADD', IDS, 0, id)
SetExpiry(id, ARGV[6])
return {'OK', fence}
)lua";

// Before the rule: a call that changes nothing cannot have done it before.
constexpr std::string_view kChangesNothing = R"lua(
AGAIN = false
)lua";

// ARGV: id, write, fence, version, count of runs from the end.
constexpr std::string_view kTail = R"lua(
return {'RUNS', redis.call('LRANGE', RunsKey(id), -tonumber(ARGV[5]), -1)}
)lua";

// ARGV: id, write, fence, version, lease, record, next version, ttl, how many of the last runs
// go ('all': all of them), count of runs, runs.
constexpr std::string_view kUpdate = R"lua(
local runs, length = RunsKey(id), redis.call('LLEN', RunsKey(id))
if Digits(length) ~= stored[4] then return {'DAMAGED', 'tokens from 0'} end
local gone, count = ARGV[9] == 'all' and length or tonumber(ARGV[9]), tonumber(ARGV[10])
redis.call('HSET', RecordKey(id), 'record', ARGV[6], 'version', ARGV[7], 'write', write,
  'runs', Digits(length - gone + count), 'lease_until', Digits(NowMs() + tonumber(ARGV[5])))
if gone > 0 then redis.call('LTRIM', runs, 0, -gone - 1) end
Push(id, 11, count)
SetExpiry(id, ARGV[8])
return {'OK'}
)lua";

// Before the rule: of a deletion nothing remains that could tell it from another's.
constexpr std::string_view kDeletedBefore = R"lua(
if AGAIN and not Exists(id) then return {'OK'} end
)lua";

// ARGV: id, write, fence, version.
constexpr std::string_view kDelete = R"lua(
Remove(id)
return {'OK'}
)lua";

// ARGV: id, the record's bytes as they were found when it was seen to be damaged.
constexpr std::string_view kDeleteDamaged = R"lua(
local id = ARGV[1]
if not Exists(id) then return {AGAIN and 'OK' or 'STALE'} end
if Is(RecordKey(id), 'hash') and
    (redis.call('HGET', RecordKey(id), 'record') or '') ~= ARGV[2] then
  return {'STALE'}
end
Remove(id)
return {'OK'}
)lua";

constexpr std::string_view kRead = R"lua(
local stored = redis.call('HMGET', RecordKey(id), 'record', 'version', 'write', 'owner',
  'lease_until')
if not stored[1] or not stored[2] or not stored[3] then
  if Exists(id) then return {'DAMAGED', 'metadata', stored[1]} end
  return {'MISSING'}
end
)lua";

// ARGV: id, owner, lease, the write that made what the caller has in memory.
// Always a new fence: of the former one a write may still be under way.
constexpr std::string_view kAcquire = R"lua(
local owner, lease = ARGV[2], tonumber(ARGV[3])
local before = stored[4] or ''
if before ~= owner and IsHeld(stored[5], lease) then return {'OWNER', before} end
local fence = NextFence()
redis.call('HSET', RecordKey(id), 'fence', fence, 'owner', owner,
  'lease_until', Digits(NowMs() + lease))
local runs = stored[3] ~= ARGV[4] and redis.call('LRANGE', RunsKey(id), 0, -1)
return {'OK', stored[1], stored[2], runs, stored[3], fence, before ~= owner and '1' or '0',
  DueAt(id)}
)lua";

// ARGV: id.
constexpr std::string_view kLoad = R"lua(
return {'OK', stored[1], stored[2], DueAt(id), redis.call('LRANGE', RunsKey(id), 0, -1)}
)lua";

// ARGV: id.
constexpr std::string_view kLoadRecord = R"lua(
return {'OK', stored[1], stored[2], DueAt(id)}
)lua";

// ARGV: lease (0: they are released), then id and fence of each. Returns the ids of lost ones.
constexpr std::string_view kRenew = R"lua(
local lease, lost = tonumber(ARGV[1]), {}
local ends = lease == 0 and '0' or Digits(NowMs() + lease)
for i = 2, #ARGV - 2, 2 do
  local key = RecordKey(ARGV[i])
  if Is(key, 'hash') and redis.call('HGET', key, 'fence') == ARGV[i + 1] then
    redis.call('HSET', key, 'lease_until', ends)
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
)lua";

// (id, record, version, write, due at) of each of `ids`; those in the middle are empty where one of
// them is missing.
constexpr std::string_view kCollect = R"lua(
local function Collect(ids)
  local found = {}
  for _, id in ipairs(ids) do
    local stored = {false, false, false}
    if Is(RecordKey(id), 'hash') then
      stored = redis.call('HMGET', RecordKey(id), 'record', 'version', 'write')
    end
    if not (stored[1] and stored[2] and stored[3]) then stored = {'', '', ''} end
    found[#found + 1] = {id, stored[1], stored[2], stored[3], DueAt(id)}
  end
  return found
end
)lua";

// ARGV: after, where to end, count.
constexpr std::string_view kList = R"lua(
return Collect(redis.call('ZRANGEBYLEX', IDS, '(' .. ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3]))
)lua";

// ARGV: offset, count.
constexpr std::string_view kIdle = R"lua(
return Collect(redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', Digits(NowUs()), 'LIMIT', ARGV[1],
  ARGV[2]))
)lua";

// ARGV: id, lease, the write that made it idle so long.
constexpr std::string_view kExpire = R"lua(
if not Exists(id) then return {AGAIN and 'OK' or 'STALE'} end
local stored = redis.call('HMGET', RecordKey(id), 'write', 'lease_until')
if stored[1] ~= ARGV[3] or IsHeld(stored[2], tonumber(ARGV[2])) or DueAt(id) == '' then
  return {'STALE'}
end
Remove(id)
return {'OK'}
)lua";

template <typename... Parts>
std::string Script(Parts... parts) {
  std::string text(kWords);
  (text.append(parts), ...);
  return text;
}

}  // namespace

std::vector<std::string> RedisScriptTexts() {
  return {
      Script(kCreate),
      Script(kOneSession, kChangesNothing, kWriteRule, kTail),
      Script(kOneSession, kWriteRule, kUpdate),
      Script(kOneSession, kDeletedBefore, kWriteRule, kDelete),
      Script(kDeleteDamaged),
      Script(kOneSession, kRead, kAcquire),
      Script(kOneSession, kRead, kLoad),
      Script(kOneSession, kRead, kLoadRecord),
      Script(kRenew),
      Script(kCollect, kList),
      Script(kCollect, kIdle),
      Script(kOneSession, kExpire),
  };
}

}  // namespace kvasir
