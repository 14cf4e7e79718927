#ifndef KVASIR_TOKENIZER_JINJA_VALUE_H_
#define KVASIR_TOKENIZER_JINJA_VALUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja/text.h"

namespace kvasir::jinja {

class List;
class Dict;
class Namespace;
struct Loop;
struct Function;

// What an expression has for a value: Python's kinds, immutable and cheap to copy. A namespace()
// is the one thing that changes; it belongs to the rendering, so that no value can own itself.
class Value {
 public:
  struct Undefined {
    std::shared_ptr<const std::string> why;  // "'x' is undefined"; may be null
  };
  struct None {};

  Value() = default;  // undefined
  explicit Value(None none) : data_(none) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  explicit Value(std::shared_ptr<const Text> text) : data_(std::move(text)) {}
  explicit Value(List list);
  explicit Value(Dict dict);
  explicit Value(Namespace* space) : data_(space) {}
  explicit Value(std::shared_ptr<const Loop> loop) : data_(std::move(loop)) {}
  explicit Value(Function function);

  static Value UndefinedBecause(std::string why);
  // Text that the engine or the template made.
  static Value Trusted(std::string_view bytes) { return Value(Text(bytes, true)); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }

  // Null where the value is of another kind.
  const Text* text() const { return Pointee<Text>(); }
  const List* list() const { return Pointee<List>(); }
  const Dict* dict() const { return Pointee<Dict>(); }
  const Loop* loop() const { return Pointee<Loop>(); }
  const Function* function() const { return Pointee<Function>(); }
  Namespace* space() const;
  std::shared_ptr<const Text> shared_text() const;

  // An int or a bool as Python's int. REQUIRES: one of them.
  int64_t integer() const;
  // REQUIRES: is_number().
  double real() const;
  // Why an undefined value is undefined.
  std::string why() const;

  // Python's truth.
  bool truth() const;
  // Python's name of the type, for messages.
  std::string_view type_name() const;
  // Steps that reading the whole value costs, and how deep it nests.
  int64_t weight() const;
  int depth() const;

 private:
  template <typename T>
  const T* Pointee() const {
    const auto* pointer = std::get_if<std::shared_ptr<const T>>(&data_);
    return pointer == nullptr ? nullptr : pointer->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace*,
               std::shared_ptr<const Loop>, std::shared_ptr<const Function>>
      data_;
};

// A list, or another of Python's sequences.
class List {
 public:
  enum class Kind {
    kList,
    kTuple,
    kView,      // range() and dict.items(): nothing that has a text, or can be added to.
    kIterator,  // What `map` and `select` give: true even where empty, and gone through once.
  };

  explicit List(std::vector<Value> items, Kind kind = Kind::kList);

  const std::vector<Value>& items() const { return items_; }
  size_t size() const { return items_.size(); }
  Kind kind() const { return kind_; }
  bool is_tuple() const { return kind_ == Kind::kTuple; }
  bool is_iterator() const { return kind_ == Kind::kIterator; }
  // Those that an iterator still has, which are then taken; all of any other.
  std::vector<Value> Take() const;
  int64_t weight() const { return weight_; }
  int depth() const { return depth_; }

 private:
  std::vector<Value> items_;
  Kind kind_;
  std::shared_ptr<bool> taken_;  // Of an iterator.
  int64_t weight_ = 1;
  int depth_ = 1;
};

// Text keys in the order of their first insertion.
class Dict {
 public:
  struct Entry {
    std::shared_ptr<const Text> key;
    Value value;
  };

  // The last value set for a key wins, at the place of the first.
  void Set(std::shared_ptr<const Text> key, Value value);
  void Set(std::string_view trusted_key, Value value) {
    Set(std::make_shared<const Text>(trusted_key, true), std::move(value));
  }

  // Null where there is none.
  const Value* Find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int64_t weight() const { return weight_; }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, size_t> index_;  // Views of the keys' bytes.
  int64_t weight_ = 1;
  int depth_ = 1;
};

// What `namespace(...)` makes: the only thing that `set` can change from inside a loop.
class Namespace {
 public:
  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string, Value>> attributes_;
};

// The state behind a for loop's `loop`.
struct Loop {
  List items;
  size_t index = 0;  // From 0.

  // Undefined for an unknown name.
  Value Attribute(std::string_view name) const;
};

struct Macro;  // tree.h

// A global function, a method bound to its receiver, or a macro.
struct Function {
  enum class Kind { kGlobal, kMethod, kMacro };

  Kind kind = Kind::kGlobal;
  std::string name;
  Value receiver;                // kMethod
  const Macro* macro = nullptr;  // kMacro; the template owns it
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_VALUE_H_
