# find_package(ramvol) gives the target ramvol::client, the C++ SDK. It is what
# ramvol.pc says: gRPC's own package of CMake asks for its compilers, which
# programs do not need.
include(CMakeFindDependencyMacro)
find_dependency(PkgConfig)
pkg_check_modules(ramvol_pc QUIET REQUIRED IMPORTED_TARGET GLOBAL ramvol)

if(NOT TARGET ramvol::client)
  add_library(ramvol::client INTERFACE IMPORTED)
  target_link_libraries(ramvol::client INTERFACE PkgConfig::ramvol_pc)
  target_compile_features(ramvol::client INTERFACE cxx_std_20)
endif()
