#include "engine/journal/record_codec.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr uint8_t kFormat = 1;
constexpr size_t kChecksumBytes = 4;
// Some 300,000 years: what a 64-bit count of nanoseconds does not reach, and sums of two do.
constexpr int64_t kMaxSeconds = int64_t{1} << 43;
constexpr int64_t kNanosPerSecond = 1'000'000'000;

uint32_t Crc(uint32_t before, std::string_view bytes) {
  return crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
}

class Writer {
 public:
  void Byte(uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void Fixed32(uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) Byte(static_cast<uint8_t>(value >> shift));
  }
  // Seven bits a byte, low ones first; the last byte is below 128.
  void Varint(uint64_t value) {
    for (; value >= 128; value >>= 7) Byte(static_cast<uint8_t>(value | 128));
    Byte(static_cast<uint8_t>(value));
  }
  void Signed(int64_t value) {  // zigzag: small magnitudes are short
    Varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
  }
  void String(std::string_view value) {
    Varint(value.size());
    bytes_ += value;
  }
  void Float(float value) { Fixed32(std::bit_cast<uint32_t>(value)); }
  void Duration(absl::Duration value) {
    absl::Duration rest;
    int64_t seconds = absl::IDivDuration(value, absl::Seconds(1), &rest);
    int64_t nanos = absl::ToInt64Nanoseconds(rest);
    if (nanos < 0) {
      --seconds;
      nanos += kNanosPerSecond;
    }
    KVASIR_CHECK(-kMaxSeconds <= seconds && seconds <= kMaxSeconds);
    Signed(seconds);
    Varint(static_cast<uint64_t>(nanos));
  }

  std::string Finish(uint32_t seed) && {
    Fixed32(Crc(seed, bytes_));
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
};

// Reads what Writer wrote. After the first error it reads zeros and `ok` is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  uint8_t Byte() {
    if (rest_.empty()) return Fail();
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  uint32_t Fixed32() {
    uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8) value |= uint32_t{Byte()} << shift;
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = Byte();
      const uint64_t bits = byte & 127;
      if (shift == 63 && bits > 1) return Fail();
      value |= bits << shift;
      if (byte < 128) return byte == 0 && shift > 0 ? Fail() : value;  // one spelling a value
    }
    return Fail();
  }
  int64_t Signed() {
    const uint64_t value = Varint();
    return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
  }
  int Token() {
    const uint64_t value = Varint();
    return value <= std::numeric_limits<int>::max() ? static_cast<int>(value) : Fail();
  }
  std::string String() {
    const uint64_t size = Varint();
    if (size > rest_.size()) Fail();
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(value.size());
    return value;
  }
  float Float() { return std::bit_cast<float>(Fixed32()); }
  absl::Duration Duration() {
    const int64_t seconds = Signed();
    const uint64_t nanos = Varint();
    if (seconds < -kMaxSeconds || seconds > kMaxSeconds || nanos >= kNanosPerSecond) Fail();
    return ok_ ? absl::Seconds(seconds) + absl::Nanoseconds(nanos) : absl::ZeroDuration();
  }
  // How many entries follow, of at least `bytes` each.
  uint64_t Count(size_t bytes) {
    const uint64_t count = Varint();
    return count <= rest_.size() / bytes ? count : Fail();
  }

  uint8_t Fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// The fields of a SamplingOverrides that may be absent, in the order of their bits.
template <typename Overrides, typename Visit>
void VisitOptionals(Overrides& overrides, Visit visit) {
  visit(overrides.temperature);
  visit(overrides.top_k);
  visit(overrides.top_p);
  visit(overrides.min_p);
  visit(overrides.repetition_penalty);
  visit(overrides.frequency_penalty);
  visit(overrides.presence_penalty);
  visit(overrides.seed);
}
constexpr int kOptionals = 8;

void WriteSampling(const SamplingOverrides& sampling, Writer& out) {
  uint8_t set = 0;
  int bit = 0;
  VisitOptionals(sampling, [&](const auto& field) { set |= field.has_value() << bit++; });
  KVASIR_CHECK(bit == kOptionals);
  out.Byte(set);
  VisitOptionals(sampling, [&](const auto& field) {
    if (!field) return;
    if constexpr (std::is_same_v<std::decay_t<decltype(*field)>, float>) {
      out.Float(*field);
    } else {
      out.Varint(*field);
    }
  });
  out.Varint(sampling.logit_bias.size());
  for (const auto& [token, bias] : sampling.logit_bias) {
    out.Signed(token);
    out.Float(bias);
  }
}

SamplingOverrides ReadSampling(Reader& in) {
  SamplingOverrides sampling;
  const uint8_t set = in.Byte();
  int bit = 0;
  VisitOptionals(sampling, [&](auto& field) {
    using Value = typename std::decay_t<decltype(field)>::value_type;
    if ((set >> bit++ & 1) == 0) return;
    if constexpr (std::is_same_v<Value, float>) {
      field = in.Float();
    } else {
      const uint64_t value = in.Varint();
      field = value <= std::numeric_limits<Value>::max() ? static_cast<Value>(value) : in.Fail();
    }
  });
  const uint64_t biases = in.Count(1 + sizeof(float));
  sampling.logit_bias.reserve(biases);
  for (uint64_t i = 0; i < biases; ++i) {
    const int64_t token = in.Signed();
    if (token != static_cast<int>(token)) in.Fail();
    sampling.logit_bias.emplace_back(static_cast<int>(token), in.Float());
  }
  return sampling;
}

void WriteMetadata(const SessionMetadata& session, Writer& out) {
  out.String(session.id);
  out.String(session.tenant);
  out.Duration(session.create_time - absl::UnixEpoch());
  out.Duration(session.last_use_time - absl::UnixEpoch());
  out.Byte(session.ttl.has_value() ? 1 : 0);
  if (session.ttl) out.Duration(*session.ttl);
  out.String(session.parent_id);
  out.Varint(session.labels.size());
  for (const auto& [key, value] : session.labels) {
    out.String(key);
    out.String(value);
  }
  WriteSampling(session.sampling, out);
  out.String(session.last_request_id);
  out.Varint(session.last_base_length);
  out.Byte(static_cast<uint8_t>(session.last_finish_reason));
}

SessionMetadata ReadMetadata(Reader& in) {
  SessionMetadata session;
  session.id = in.String();
  session.tenant = in.String();
  session.create_time = absl::UnixEpoch() + in.Duration();
  session.last_use_time = absl::UnixEpoch() + in.Duration();
  const uint8_t has_ttl = in.Byte();
  if (has_ttl > 1) in.Fail();
  if (has_ttl == 1) session.ttl = in.Duration();
  session.parent_id = in.String();
  const uint64_t labels = in.Count(2);
  for (uint64_t i = 0; i < labels; ++i) {
    std::string key = in.String();
    std::string value = in.String();
    if (!session.labels.empty() && key <= session.labels.rbegin()->first) in.Fail();
    session.labels.emplace_hint(session.labels.end(), std::move(key), std::move(value));
  }
  session.sampling = ReadSampling(in);
  session.last_request_id = in.String();
  session.last_base_length = in.Varint();
  const uint8_t finish = in.Byte();
  if (finish > static_cast<uint8_t>(FinishReason::kInterrupted)) in.Fail();
  session.last_finish_reason = static_cast<FinishReason>(in.ok() ? finish : 0);
  return session;
}

// The bytes before the checksum; not set where it does not fit them.
std::optional<std::string_view> Checked(std::string_view bytes, uint32_t seed) {
  if (bytes.size() < kChecksumBytes) return std::nullopt;
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (Reader(bytes.substr(body.size())).Fixed32() != Crc(seed, body)) return std::nullopt;
  return body;
}

// What every run of a session begins its checksum with.
uint32_t RunSeed(const std::string& id) {
  return Crc(Crc(0, id), std::string_view("\0", 1));  // no id has a zero in it
}

}  // namespace

absl::Status SessionDamaged(const std::string& id, std::string_view field, std::string_view why) {
  return MakeError(
      Reason::kSessionDamaged,
      absl::StrCat("session '", id, "' is damaged: ", std::string(field), ": ", std::string(why)),
      {{"session_id", id}, {"field", std::string(field)}});
}

std::string TokensFrom(uint64_t start) { return absl::StrCat("tokens from ", start); }

std::string EncodeRecord(const SessionRecord& record, uint32_t last_run) {
  Writer out;
  out.Byte(kFormat);
  WriteMetadata(record.metadata, out);
  out.String(record.fingerprint);
  out.String(record.numerics);
  out.Varint(record.length);
  out.Varint(record.version);
  out.Fixed32(last_run);
  return std::move(out).Finish(0);
}

absl::StatusOr<DecodedRecord> DecodeRecord(const std::string& id, std::string_view bytes) {
  constexpr std::string_view kField = "metadata";
  const auto body = Checked(bytes, 0);
  if (!body) return SessionDamaged(id, kField, "the checksum does not fit");
  Reader in(*body);
  if (const uint8_t format = in.Byte(); format != kFormat) {
    return SessionDamaged(id, kField, absl::StrCat("format ", format, " is not known"));
  }
  DecodedRecord decoded;
  SessionRecord& record = decoded.record;
  record.metadata = ReadMetadata(in);
  record.fingerprint = in.String();
  record.numerics = in.String();
  record.length = in.Varint();
  record.version = in.Varint();
  decoded.last_run = in.Fixed32();
  if (!in.ok() || !in.at_end()) return SessionDamaged(id, kField, "is not a record");
  if (record.metadata.id != id) {
    return SessionDamaged(id, kField, "is another session's");
  }
  return decoded;
}

std::string IdInRecord(std::string_view bytes) {
  const auto body = Checked(bytes, 0);
  if (!body || body->empty()) return "";
  return Reader(body->substr(1)).String();
}

std::string EncodeRun(const std::string& id, uint64_t start, uint32_t previous,
                      std::span<const int> tokens) {
  Writer out;
  out.Byte(kFormat);
  out.Varint(start);
  out.Fixed32(previous);
  out.Varint(tokens.size());
  for (int token : tokens) {
    KVASIR_CHECK(token >= 0);
    out.Varint(static_cast<uint64_t>(token));
  }
  return std::move(out).Finish(RunSeed(id));
}

absl::StatusOr<TokenRun> DecodeRun(const std::string& id, std::string_view field,
                                   std::string_view bytes) {
  const auto body = Checked(bytes, RunSeed(id));
  if (!body) return SessionDamaged(id, field, "the checksum does not fit");
  Reader in(*body);
  if (const uint8_t format = in.Byte(); format != kFormat) {
    return SessionDamaged(id, field, absl::StrCat("format ", format, " is not known"));
  }
  TokenRun run;
  run.start = in.Varint();
  run.previous = in.Fixed32();
  const uint64_t count = in.Count(1);
  run.tokens.reserve(count);
  for (uint64_t i = 0; i < count; ++i) run.tokens.push_back(in.Token());
  run.checksum = Reader(bytes.substr(body->size())).Fixed32();
  if (!in.ok() || !in.at_end()) return SessionDamaged(id, field, "is not a run of tokens");
  return run;
}

absl::Status TokensReader::Damaged(std::string_view why) const {
  return SessionDamaged(record_.record.metadata.id, TokensFrom(tokens_.size()), why);
}

absl::Status TokensReader::Append(std::string_view bytes) {
  const auto run = DecodeRun(record_.record.metadata.id, TokensFrom(tokens_.size()), bytes);
  if (!run.ok()) return run.status();
  if (run->start != tokens_.size()) {
    return Damaged(absl::StrCat("the next ones found are from ", run->start));
  }
  if (run->previous != last_run_) return Damaged("they do not follow on those before");
  tokens_.insert(tokens_.end(), run->tokens.begin(), run->tokens.end());
  last_run_ = run->checksum;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int>> TokensReader::Finish() {
  if (tokens_.size() != record_.record.length) {
    return Damaged(
        absl::StrCat(tokens_.size(), " tokens are there instead of ", record_.record.length));
  }
  if (last_run_ != record_.last_run) return Damaged("the last ones are not the record's");
  return std::move(tokens_);
}

absl::StatusOr<RunsChange> ChangeRuns(const SessionWrite& write, const TokenRun* last) {
  const std::string& id = write.record.metadata.id;
  RunsChange change;
  std::vector<int> tokens;
  change.from = write.keep;
  if (write.keep > 0) {
    const uint64_t end = last == nullptr ? 0 : last->start + last->tokens.size();
    if (last == nullptr || last->start >= write.keep || end < write.keep) {
      return SessionDamaged(id, TokensFrom(last == nullptr ? 0 : std::min(end, write.keep)),
                            "they are missing");
    }
    change.last_run = last->checksum;
    const bool is_short = last->tokens.size() < kShortRun && !write.append.empty();
    if (end > write.keep || is_short) {
      change.from = last->start;
      change.last_run = last->previous;
      tokens.assign(last->tokens.begin(), last->tokens.begin() + (write.keep - last->start));
    }
  }
  tokens.insert(tokens.end(), write.append.begin(), write.append.end());
  for (size_t begin = 0; begin < tokens.size(); begin += kLongestRun) {
    const size_t count = std::min(kLongestRun, tokens.size() - begin);
    const uint64_t start = change.from + begin;
    std::string bytes = EncodeRun(id, start, change.last_run, {tokens.data() + begin, count});
    change.last_run =
        Reader(std::string_view(bytes).substr(bytes.size() - kChecksumBytes)).Fixed32();
    change.runs.push_back({start, std::move(bytes)});
  }
  return change;
}

}  // namespace kvasir
