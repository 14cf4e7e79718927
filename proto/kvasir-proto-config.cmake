include(CMakeFindDependencyMacro)
find_dependency(Protobuf MODULE)
find_dependency(gRPC CONFIG)
include(${CMAKE_CURRENT_LIST_DIR}/kvasir-proto-targets.cmake)
