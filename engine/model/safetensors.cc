#include "engine/model/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/json_fields.h"

namespace kvasir {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

// As the reference implementation limits it.
constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kLengthBytes = 8;

absl::Status Bad(std::string_view file, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(file), ": ", std::string(what)));
}

absl::Status BadTensor(std::string_view file, std::string_view tensor, std::string_view what) {
  return Bad(file, absl::StrCat("tensor '", std::string(tensor), "': ", std::string(what)));
}

// Bytes of an element, or nothing for a dtype that is unknown here: its entry can be skipped, not
// used.
std::optional<uint64_t> ElementBytes(std::string_view dtype) {
  constexpr std::pair<std::string_view, uint64_t> kSizes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
      {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  for (const auto& [name, size] : kSizes) {
    if (name == dtype) return size;
  }
  return std::nullopt;
}

absl::StatusOr<SafetensorsEntry> ParseEntry(std::string_view file, std::string_view name,
                                            const rapidjson::Value& value, uint64_t data_bytes) {
  if (!value.IsObject()) return BadTensor(file, name, "is not an object");
  if (const std::optional<std::string> field = FindDuplicate(value)) {
    return BadTensor(file, name, absl::StrCat("field '", *field, "' is there twice"));
  }
  const auto dtype = value.FindMember("dtype");
  const auto shape = value.FindMember("shape");
  const auto offsets = value.FindMember("data_offsets");
  if (dtype == value.MemberEnd() || !dtype->value.IsString()) {
    return BadTensor(file, name, "field 'dtype' is missing or no string");
  }
  if (shape == value.MemberEnd() || !shape->value.IsArray()) {
    return BadTensor(file, name, "field 'shape' is missing or no list");
  }
  if (offsets == value.MemberEnd() || !offsets->value.IsArray() || offsets->value.Size() != 2 ||
      !offsets->value[0].IsUint64() || !offsets->value[1].IsUint64()) {
    return BadTensor(file, name, "field 'data_offsets' is missing or no pair of sizes");
  }
  SafetensorsEntry entry;
  entry.dtype = TextOf(dtype->value);
  entry.begin = offsets->value[0].GetUint64();
  entry.end = offsets->value[1].GetUint64();
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return BadTensor(file, name,
                     absl::StrCat("data_offsets [", entry.begin, ", ", entry.end,
                                  "] leave the file's ", data_bytes, " bytes of data"));
  }
  const std::optional<uint64_t> element = ElementBytes(entry.dtype);
  uint64_t bytes = element.value_or(1);
  for (const rapidjson::Value& size : shape->value.GetArray()) {
    if (!size.IsUint64() || __builtin_mul_overflow(bytes, size.GetUint64(), &bytes) ||
        size.GetUint64() > uint64_t{INT64_MAX}) {
      return BadTensor(file, name, "field 'shape' holds what is no size, or too much");
    }
    entry.shape.push_back(size.GetInt64());
  }
  if (element && bytes != entry.end - entry.begin) {
    return BadTensor(file, name,
                     absl::StrCat("dtype and shape need ", bytes, " bytes, data_offsets hold ",
                                  entry.end - entry.begin));
  }
  return entry;
}

// The format wants the tensors to cover the data section without overlap and hole.
absl::Status CheckCover(std::string_view file, const SafetensorsHeader& header,
                        uint64_t data_bytes) {
  std::vector<std::pair<const SafetensorsEntry*, const std::string*>> order;
  for (const auto& [name, entry] : header.tensors) order.emplace_back(&entry, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  uint64_t covered = 0;
  for (const auto& [entry, name] : order) {
    if (entry->begin != covered) {
      return BadTensor(
          file, *name,
          absl::StrCat("begins at byte ", entry->begin,
                       entry->begin < covered ? " within another tensor, which ends at "
                                              : " after a hole that begins at ",
                       covered));
    }
    covered = entry->end;
  }
  if (covered != data_bytes) {
    return Bad(file, absl::StrCat("tensors cover ", covered, " of ", data_bytes, " data bytes"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view file,
                                                         std::string_view bytes,
                                                         uint64_t file_size) {
  if (bytes.size() < kLengthBytes) return Bad(file, "too short for a safetensors header");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeader || length > file_size - kLengthBytes ||
      length > bytes.size() - kLengthBytes) {
    return Bad(file, absl::StrCat("header length ", length, " exceeds the file (", file_size,
                                  " bytes) or the limit of ", kMaxHeader));
  }
  const absl::StatusOr<rapidjson::Document> document =
      JsonFields::Parse(file, bytes.substr(kLengthBytes, length));
  if (!document.ok()) return document.status();

  SafetensorsHeader header;
  header.data_start = kLengthBytes + length;
  const uint64_t data_bytes = file_size - header.data_start;
  for (const auto& member : document->GetObject()) {
    const std::string name(TextOf(member.name));
    if (name == "__metadata__") continue;
    absl::StatusOr<SafetensorsEntry> entry = ParseEntry(file, name, member.value, data_bytes);
    if (!entry.ok()) return entry.status();
    header.tensors.emplace(name, *std::move(entry));  // JsonFields has refused one that is twice
  }
  const absl::Status cover = CheckCover(file, header, data_bytes);
  if (!cover.ok()) return cover;
  return header;
}

absl::StatusOr<std::unique_ptr<MappedSafetensors>> MappedSafetensors::Open(
    const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO would wait
  if (fd < 0) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": ", std::strerror(errno)));
  }
  struct stat info = {};
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const auto size = static_cast<size_t>(info.st_size);
  if (!regular || size < kLengthBytes) {
    close(fd);
    return Bad(path.string(),
               regular ? "too short for a safetensors header" : "is not a regular file");
  }
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (data == MAP_FAILED) {
    return Bad(path.string(), absl::StrCat("cannot be mapped: ", std::strerror(error)));
  }
  madvise(data, size, MADV_SEQUENTIAL);
  std::unique_ptr<MappedSafetensors> file(
      new MappedSafetensors(path.filename().string(), static_cast<char*>(data), size));
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(file->name_, {file->data_, size}, size);
  if (!header.ok()) return header.status();
  file->header_ = *std::move(header);
  return file;
}

MappedSafetensors::~MappedSafetensors() { munmap(data_, size_); }

std::string_view MappedSafetensors::Data(const SafetensorsEntry& entry) const {
  return {data_ + header_.data_start + entry.begin, entry.end - entry.begin};
}

void MappedSafetensors::Release(const SafetensorsEntry& entry) const {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (header_.data_start + entry.begin) / page * page;
  const uint64_t end = (header_.data_start + entry.end) / page * page;
  if (end > begin) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

}  // namespace kvasir
