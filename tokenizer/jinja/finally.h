#ifndef KVASIR_TOKENIZER_JINJA_FINALLY_H_
#define KVASIR_TOKENIZER_JINJA_FINALLY_H_

#include <utility>

namespace kvasir::jinja {

// Undoes on leaving a scope what was done on entering it.
template <typename Undo>
class Finally {
 public:
  explicit Finally(Undo undo) : undo_(std::move(undo)) {}
  ~Finally() { undo_(); }
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;

 private:
  Undo undo_;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_FINALLY_H_
