#ifndef KVASIR_TOKENIZER_JINJA_TEXT_H_
#define KVASIR_TOKENIZER_JINJA_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvasir::jinja {

// A string that knows of each byte whether it came from the template (trusted) or from the
// caller's data. What the engine itself writes (digits, quotes, JSON's punctuation) is the
// template's: it asked for the formatting.
class Text {
 public:
  // Bytes up to `end` (from the run before, or the start) are alike.
  struct Run {
    size_t end = 0;
    bool trusted = false;

    friend bool operator==(const Run&, const Run&) = default;
  };

  Text() = default;
  Text(std::string_view bytes, bool trusted) { Append(bytes, trusted); }

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // Ascending, neighbours differ in `trusted`; the last one ends at size().
  const std::vector<Run>& runs() const { return runs_; }

  void Append(std::string_view bytes, bool trusted);
  void Append(const Text& other) { AppendSlice(other, 0, other.size()); }
  // Bytes [begin, end) of `other`. REQUIRES: begin <= end <= other.size(); other is not this.
  void AppendSlice(const Text& other, size_t begin, size_t end);

  // Whether it is, or was cut from, what Jinja's `safe` or `escape` gave.
  bool is_markup() const { return is_markup_; }
  Text AsMarkup() const {
    Text markup = *this;
    markup.is_markup_ = true;
    return markup;
  }

  // REQUIRES: begin <= end <= size().
  Text Slice(size_t begin, size_t end) const;

  // Whether byte `offset` is the template's. REQUIRES: offset < size().
  bool TrustedAt(size_t offset) const { return runs_[RunAt(offset)].trusted; }

  // A text of the same runs, each replaced by what `transform(std::string_view)` makes of it.
  // Only for transforms that look at one character at a time.
  template <typename Transform>
  Text MapRuns(Transform transform) const {
    Text result;
    size_t begin = 0;
    for (const Run& run : runs_) {
      result.Append(transform(std::string_view(bytes_).substr(begin, run.end - begin)),
                    run.trusted);
      begin = run.end;
    }
    return result;
  }

 private:
  size_t RunAt(size_t offset) const;

  std::string bytes_;
  std::vector<Run> runs_;
  bool is_markup_ = false;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_TEXT_H_
