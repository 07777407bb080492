# Compiler settings, third-party packages and the one function that makes a folder a target.

add_library(fathom_options INTERFACE)
target_compile_options(fathom_options INTERFACE
  -Wall -Wextra -Wpedantic -Wno-missing-field-initializers
  "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-interference-size;-Wno-subobject-linkage>"
  $<$<CONFIG:Release>:$<IF:$<BOOL:$<TARGET_PROPERTY:FATHOM_IS_TEST>>,-O1,-O2>> -fno-math-errno -ffp-contract=off)
target_include_directories(fathom_options INTERFACE ${PROJECT_SOURCE_DIR}/src)

find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

if(FATHOM_SANITIZE)
  add_compile_options(-fsanitize=${FATHOM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${FATHOM_SANITIZE})
endif()
if(FATHOM_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
if(FATHOM_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
endif()

# Eight files of a target are compiled as one: the headers of JSON and asio cost more than most files.
# So what anonymous namespaces define has a name of its own within a target. The debug preset compiles each alone,
# which suits work on one file.
option(FATHOM_UNITY "Compile eight files of a target as one" ON)
set(CMAKE_UNITY_BUILD ${FATHOM_UNITY})
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)

# fathom_library(<folder> [DEPS <targets>...] [TEST_DEPS <targets>...])
#
# Makes target fathom_<folder> of every *.cc below the folder and, from every *_test.cc, one test
# program <folder>_test. Globbing is deliberate: a source or test file cannot be left out of the build.
function(fathom_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;TEST_DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")

  if(sources)
    add_library(fathom_${name} STATIC ${sources})
    target_link_libraries(fathom_${name} PUBLIC fathom_options ${ARG_DEPS})
  else()
    add_library(fathom_${name} INTERFACE)
    target_link_libraries(fathom_${name} INTERFACE fathom_options ${ARG_DEPS})
  endif()

  if(FATHOM_TESTS AND tests)
    add_executable(${name}_test ${tests})
    set_target_properties(${name}_test PROPERTIES FATHOM_IS_TEST ON)  # compiled in less time
    target_link_libraries(${name}_test PRIVATE fathom_${name} ${ARG_TEST_DEPS} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE
      FATHOM_TEST_DATA="${PROJECT_SOURCE_DIR}/tests" FATHOM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME ${name}_test COMMAND ${name}_test)
  endif()
endfunction()
