# cmake --install: the CMake package probewise with the targets probewise::core (C++, static) and probewise::c (C, shared).
include(CMakePackageConfigHelpers)
set(place lib/cmake/probewise)
install(TARGETS probewise_core probewise_c EXPORT probewise-targets
  ARCHIVE DESTINATION lib LIBRARY DESTINATION lib RUNTIME DESTINATION bin)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/include/ DESTINATION include)
install(EXPORT probewise-targets NAMESPACE probewise:: DESTINATION ${place})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/probewise-config.cmake.in
  ${PROJECT_BINARY_DIR}/probewise-config.cmake INSTALL_DESTINATION ${place})
# Before 1.0 each minor version may change the C++ headers; the C interface has a number of its own.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/probewise-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/probewise-config.cmake ${PROJECT_BINARY_DIR}/probewise-config-version.cmake
  DESTINATION ${place})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/probewise)
