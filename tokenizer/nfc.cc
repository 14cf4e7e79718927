#include "tokenizer/nfc.h"

#include <algorithm>
#include <cstdint>
#include <span>

#include "tokenizer/unicode.h"
#include "tokenizer/unicode_tables.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

namespace tables = unicode_tables;

// Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12).
constexpr char32_t kSyllableBase = 0xAC00;
constexpr char32_t kLeadBase = 0x1100;
constexpr char32_t kVowelBase = 0x1161;
constexpr char32_t kTailBase = 0x11A7;
constexpr uint32_t kLeads = 19;
constexpr uint32_t kVowels = 21;
constexpr uint32_t kTails = 28;  // One of them is none.

// Of an entry of kNfcData.
constexpr uint16_t kCombiningClass = 0xFF;
constexpr uint16_t kNotBoundary = 0x100;  // NFC replaces it, or an earlier one may compose with it.

uint16_t NfcProperties(char32_t c) {
  return tables::kNfcData[tables::kNfcIndex[c >> 7] << 7 | (c & 0x7F)];
}

struct Mark {
  char32_t c;
  uint8_t combining_class;
};

void AppendMark(char32_t c, std::vector<Mark>& marks) {
  marks.push_back({c, static_cast<uint8_t>(NfcProperties(c) & kCombiningClass)});
}

void AppendDecomposed(char32_t c, std::vector<Mark>& marks) {
  if (c - kSyllableBase < kLeads * kVowels * kTails) {
    const uint32_t index = c - kSyllableBase;
    marks.push_back({kLeadBase + index / (kVowels * kTails), 0});
    marks.push_back({kVowelBase + index / kTails % kVowels, 0});
    if (index % kTails != 0) marks.push_back({kTailBase + index % kTails, 0});
    return;
  }
  const std::span keys(tables::kDecomposed, tables::kDecomposedCount);
  const auto found = std::lower_bound(keys.begin(), keys.end(), c);
  if (found == keys.end() || *found != c) {
    AppendMark(c, marks);
    return;
  }
  const size_t i = found - keys.begin();
  for (size_t part = tables::kDecomposedBegin[i]; part < tables::kDecomposedBegin[i + 1]; ++part) {
    AppendMark(tables::kDecomposedParts[part], marks);
  }
}

// 0: none.
char32_t Composite(char32_t first, char32_t second) {
  if (first - kLeadBase < kLeads && second - kVowelBase < kVowels) {
    return kSyllableBase + ((first - kLeadBase) * kVowels + (second - kVowelBase)) * kTails;
  }
  if (first - kSyllableBase < kLeads * kVowels * kTails && (first - kSyllableBase) % kTails == 0 &&
      second - kTailBase - 1 < kTails - 1) {
    return first + (second - kTailBase);
  }
  const std::span all(tables::kCompositions, tables::kCompositionsCount);
  const auto found = std::lower_bound(
      all.begin(), all.end(), std::pair<uint32_t, uint32_t>(first, second),
      [](const tables::Composition& entry, const std::pair<uint32_t, uint32_t>& wanted) {
        return std::pair(entry.first, entry.second) < wanted;
      });
  if (found == all.end() || found->first != first || found->second != second) return 0;
  return found->composite;
}

// Each run of marks by ascending combining class, equal ones as they were.
void OrderMarks(std::vector<Mark>& marks) {
  for (auto run = marks.begin(); run != marks.end();) {
    if (run->combining_class == 0) {
      ++run;
      continue;
    }
    const auto end =
        std::find_if(run, marks.end(), [](const Mark& mark) { return mark.combining_class == 0; });
    std::stable_sort(run, end, [](const Mark& a, const Mark& b) {
      return a.combining_class < b.combining_class;
    });
    run = end;
  }
}

void Compose(std::vector<Mark>& marks) {
  size_t kept = 0;
  size_t starter = marks.size();  // Index of the last starter kept; none yet.
  int last_class = -1;            // Of the last mark kept after the starter; -1: none.
  for (const Mark& mark : marks) {
    if (starter != marks.size() && last_class < mark.combining_class) {
      if (const char32_t composite = Composite(marks[starter].c, mark.c); composite != 0) {
        marks[starter].c = composite;
        continue;
      }
    }
    if (mark.combining_class == 0) {
      starter = kept;
      last_class = -1;
    } else {
      last_class = mark.combining_class;
    }
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

struct Stretch {
  size_t begin;  // The boundary before what failed the quick check.
  size_t end;    // The next boundary.
};

// What NFC may do to the character at `i`; 0: it is a boundary, left alone wherever it stands.
inline uint16_t PropertiesAt(std::string_view text, size_t i) {
  if (!(LeadClasses(text[i]) & kNfcActive)) return 0;
  const char32_t c = DecodeWellFormed(text.data() + i).value;
  return ClassesOf(c) & kNfcActive ? NfcProperties(c) : 0;
}

// The first stretch at or after `from` that may not be in NFC; {size, size} for none.
Stretch FindUnsure(std::string_view text, size_t from) {
  size_t boundary = from;
  size_t i = from;
  while (i < text.size()) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      i += AsciiPrefix(text.substr(i));
      boundary = i - 1;
      continue;
    }
    uint16_t properties = PropertiesAt(text, i);
    if (properties == 0) {
      boundary = i;
      i += CharacterBytes(text[i]);
      continue;
    }
    bool unsure = false;
    int last_class = 0;
    do {
      const int combining_class = properties & kCombiningClass;
      unsure |=
          (properties & kNotBoundary) || (combining_class != 0 && combining_class < last_class);
      last_class = combining_class;
      i += CharacterBytes(text[i]);
    } while (i < text.size() && (properties = PropertiesAt(text, i)) != 0);
    if (unsure) return {boundary, i};
  }
  return {text.size(), text.size()};
}

}  // namespace

size_t InertPrefix(std::string_view bytes) {
  const char* const end = bytes.data() + bytes.size();
  const char* p = bytes.data();
  while (p != end) {
    const std::string_view rest(p, static_cast<size_t>(end - p));
    if (static_cast<unsigned char>(*p) < 0x80) {
      p += AsciiPrefix(rest);
      continue;
    }
    const size_t size = WellFormedCharacter(rest);
    if (size == 0) break;
    if ((LeadClasses(*p) & kNfcActive) && (ClassesOf(DecodeWellFormed(p).value) & kNfcActive))
      break;
    p += size;
  }
  return p - bytes.data();
}

bool QuickCheckNfc(std::string_view text) { return FindUnsure(text, 0).begin == text.size(); }

void AppendNfc(std::string_view text, std::string& out, std::vector<TextEdit>* edits) {
  std::vector<Mark> marks;
  size_t done = 0;
  while (done < text.size()) {
    const Stretch stretch = FindUnsure(text, done);
    out.append(text.substr(done, stretch.begin - done));
    marks.clear();
    for (size_t i = stretch.begin; i < stretch.end;) {
      const CodePoint code_point = DecodeWellFormed(text.data() + i);
      AppendDecomposed(code_point.value, marks);
      i += code_point.bytes;
    }
    OrderMarks(marks);
    Compose(marks);
    const size_t begin = out.size();
    for (const Mark& mark : marks) AppendUtf8(mark.c, out);
    if (edits != nullptr && stretch.begin < stretch.end) {
      edits->push_back({{stretch.begin, stretch.end}, {begin, out.size()}});
    }
    done = stretch.end;
  }
}

}  // namespace kvasir
