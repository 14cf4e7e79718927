#ifndef KVASIR_TOKENIZER_JINJA_TREE_H_
#define KVASIR_TOKENIZER_JINJA_TREE_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja/error.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;
struct Statement;
using Body = std::vector<Statement>;

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

// Expressions.

struct Literal {
  Value value;
};
struct NameReference {
  std::string name;
};
struct ListDisplay {
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct GetAttribute {  // object.name
  ExpressionPtr object;
  std::string name;
};
struct GetItem {  // object[key]
  ExpressionPtr object, key;
};
struct GetSlice {  // object[start:stop:step], each may be null
  ExpressionPtr object, start, stop, step;
};
struct CallExpression {
  ExpressionPtr callee;
  Arguments arguments;
};
struct FilterExpression {
  ExpressionPtr operand;
  std::string name;
  Arguments arguments;
};
struct TestExpression {
  ExpressionPtr operand;
  std::string name;
  Arguments arguments;
};
struct Unary {
  enum class Operator { kNot, kNegate, kPlus };
  Operator op;
  ExpressionPtr operand;
};
struct Binary {
  enum class Operator {
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kFloorDivide,
    kModulo,
    kPower,
    kConcatenate
  };
  Operator op;
  ExpressionPtr left, right;
};
struct Logical {
  bool is_and;
  ExpressionPtr left, right;
};
struct Comparison {  // a < b <= c
  enum class Operator {
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kIn,
    kNotIn
  };
  ExpressionPtr first;
  std::vector<std::pair<Operator, ExpressionPtr>> rest;
};
struct Conditional {  // value if condition else otherwise (null: undefined)
  ExpressionPtr condition, value, otherwise;
};

struct Expression {
  Position at;
  int depth = 1;  // Of the tree below.
  std::variant<Literal, NameReference, ListDisplay, DictDisplay, GetAttribute, GetItem, GetSlice,
               CallExpression, FilterExpression, TestExpression, Unary, Binary, Logical, Comparison,
               Conditional>
      node;
};

// Statements.

struct OutputText {
  std::string text;
};
struct OutputExpression {
  ExpressionPtr expression;
};
// What `set` and `for` assign to: one or more names (more: the value is unpacked), or an attribute
// of a namespace.
struct Target {
  std::vector<std::string> names;
  bool unpacks = false;
  std::string attribute;  // Not empty: names[0] is a namespace.
};
struct If {
  struct Branch {
    ExpressionPtr condition;  // Null: else.
    Body body;
  };
  std::vector<Branch> branches;
};
struct For {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;  // May be null.
  Body body;
  Body otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  Body body;
};
struct Macro {
  std::string name;
  struct Parameter {
    std::string name;
    ExpressionPtr default_value;  // May be null.
  };
  std::vector<Parameter> parameters;
  Body body;
};
struct MacroDefinition {
  std::unique_ptr<Macro> macro;
};
struct Block {  // Renders its body in a scope of its own: {% generation %}.
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  Position at;
  std::variant<OutputText, OutputExpression, If, For, Set, SetBlock, MacroDefinition, Block, Break,
               Continue>
      node;
};

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_TREE_H_
