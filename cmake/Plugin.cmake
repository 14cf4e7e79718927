# The program and the GPU's library are compiled and shipped apart: KVASIR_PLUGIN_INTERFACE, a hash of
# the headers that they share, shows whether both had the same. Headers are hashed anew when one of
# them changes.

# kvasir_hash_plugin_headers(result [folder]): over plugin.h and all of our headers that it includes, as
# they are in `folder` where they are there.
function(kvasir_hash_plugin_headers result)
  set(waiting engine/backend/plugin.h)
  set(seen "")
  set(hashes "")
  while(waiting)
    list(POP_FRONT waiting header)
    if(header IN_LIST seen)
      continue()
    endif()
    list(APPEND seen ${header})
    set(path ${CMAKE_SOURCE_DIR}/${header})
    if(ARGN AND EXISTS ${ARGN}/${header})
      set(path ${ARGN}/${header})
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    file(SHA256 ${path} hash)
    string(APPEND hashes ${hash})
    file(STRINGS ${path} includes REGEX "^#include \"engine/")
    list(TRANSFORM includes REPLACE "^#include \"(.*)\".*" "\\1")
    list(APPEND waiting ${includes})
  endwhile()
  string(SHA256 hash "${hashes}")
  string(SUBSTRING ${hash} 0 16 hash)
  set(${result} 0x${hash} PARENT_SCOPE)
endfunction()

kvasir_hash_plugin_headers(KVASIR_PLUGIN_INTERFACE)

# kvasir_plugin_source(a.cc): it needs to know the interface. Called in the folder of its target.
function(kvasir_plugin_source source)
  set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS
    KVASIR_PLUGIN_INTERFACE=${KVASIR_PLUGIN_INTERFACE})
endfunction()
