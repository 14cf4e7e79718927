// Names for addresses in code.
#ifndef KVASIR_TESTS_SIMT_SYMBOLS_H_
#define KVASIR_TESTS_SIMT_SYMBOLS_H_

#include <string>
#include <vector>

namespace simt {

// The function that begins there, without its parameters, from the symbol table of its file: one in
// an anonymous namespace, too. Its address in hexadecimal where there is none.
std::string FunctionName(const void* function);

// "file:line" of each instruction before the address, which returns go to; the innermost one
// outside the stand-ins, where it was inlined. Asks addr2line.
std::vector<std::string> SourceLines(const std::vector<const void*>& return_addresses);

}  // namespace simt

#endif  // KVASIR_TESTS_SIMT_SYMBOLS_H_
