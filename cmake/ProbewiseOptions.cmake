# Warnings and sanitizers, kept out of the target files.
add_library(probewise_options INTERFACE)
# Without -fno-math-errno the compiler keeps the scalar libm call in every loop that takes a square
# root (9x on a Matern row); neither flag changes a result.
target_compile_options(probewise_options INTERFACE
  $<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang,AppleClang>:-Wall;-Wextra;-Wconversion;-Wshadow;-fno-math-errno;-fno-trapping-math>
  $<$<AND:$<BOOL:${PROBEWISE_WERROR}>,$<COMPILE_LANG_AND_ID:CXX,GNU,Clang,AppleClang>>:-Werror>)
if(PROBEWISE_SANITIZE)
  target_compile_options(probewise_options INTERFACE
    -fsanitize=${PROBEWISE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(probewise_options INTERFACE -fsanitize=${PROBEWISE_SANITIZE})
endif()
