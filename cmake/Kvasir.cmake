# The project's warnings, sanitizers and the shapes of its targets.

add_library(kvasir_flags INTERFACE)
target_include_directories(kvasir_flags INTERFACE ${CMAKE_SOURCE_DIR})
set(cxx "$<COMPILE_LANGUAGE:C,CXX>")
target_compile_options(kvasir_flags INTERFACE
  "$<${cxx}:-Wall;-Wextra;-Wno-sign-compare;-Wno-missing-field-initializers>"
  # RapidJSON's iterators under C++20's rewritten comparisons.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-ambiguous-reversed-operator>
  $<$<AND:${cxx},$<BOOL:${KVASIR_WERROR}>>:-Werror>
  # One product may never be contracted on one machine and not on another: kernels say fma where
  # they mean it.
  $<${cxx}:-ffp-contract=off>
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall>"
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${KVASIR_WERROR}>>:-Werror=all-warnings>)
if(KVASIR_SANITIZE)
  target_compile_options(kvasir_flags INTERFACE -fsanitize=${KVASIR_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  # RapidJSON 1.1's stack starts as a null pointer and compares null + 4 with its end.
  target_compile_options(kvasir_flags INTERFACE -fno-sanitize=pointer-overflow)
  target_link_options(kvasir_flags INTERFACE -fsanitize=${KVASIR_SANITIZE})
endif()

# kvasir_library(NAME n SOURCES ... [DEPS ...])
function(kvasir_library)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_library(${A_NAME} STATIC ${A_SOURCES})
  target_link_libraries(${A_NAME} PUBLIC kvasir_flags ${A_DEPS})
endfunction()

# kvasir_binary(NAME n SOURCES ... [DEPS ...]): goes to <build>/bin.
function(kvasir_binary)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SOURCES})
  target_link_libraries(${A_NAME} PRIVATE kvasir_flags ${A_DEPS})
endfunction()

# kvasir_test_program(NAME n SOURCES ... [DEPS ...]): a GoogleTest binary in <build>/tests, which CTest
# runs only where it is told how.
function(kvasir_test_program)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SOURCES})
  set_target_properties(${A_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${A_NAME} PRIVATE kvasir_flags ${A_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${A_NAME} PRIVATE
    KVASIR_SOURCE_DIR="${CMAKE_SOURCE_DIR}" KVASIR_TESTDATA_DIR="${CMAKE_SOURCE_DIR}/build/testdata"
    KVASIR_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
endfunction()

set(KVASIR_TEST_TIMEOUT 600 CACHE STRING "Seconds after which a test has failed")

# kvasir_test(NAME n SOURCES ... [DEPS ...] [LABELS ...] [TIMEOUT s]): one CTest entry a binary.
function(kvasir_test)
  cmake_parse_arguments(A "" "NAME;TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT ${KVASIR_TEST_TIMEOUT})
  endif()
  kvasir_test_program(NAME ${A_NAME} SOURCES ${A_SOURCES} DEPS ${A_DEPS})
  add_test(NAME ${A_NAME} COMMAND ${A_NAME} --gtest_brief=1)
  set_tests_properties(${A_NAME} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}")
endfunction()

if(KVASIR_FUZZ)
  add_custom_target(fuzz_targets)
endif()

# kvasir_fuzz(NAME n SOURCES ... [DEPS ...]): a libFuzzer target; its seeds lie in tests/fuzz/corpus/<n>.
function(kvasir_fuzz)
  if(NOT KVASIR_FUZZ)
    return()
  endif()
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SOURCES})
  set_target_properties(${A_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  target_link_libraries(${A_NAME} PRIVATE kvasir_flags ${A_DEPS})
  target_link_options(${A_NAME} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzz_targets ${A_NAME})
endfunction()
