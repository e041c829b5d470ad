// The Observation library of Swift 6.0 in Debian refers to a function of Swift's runtime that no library of Debian's
// exports, and GNU ld refuses to link a program with it. Flags for the linker would help too, but SwiftPM takes none from
// a package that an app depends on by its version. Weak: a runtime that has the function keeps its own.
#if defined(__linux__)
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// swift::threading::fatal(char const *, ...)
__attribute__((weak, noreturn)) void swift_threading_fatal(const char *format, ...)
    __asm__("_ZN5swift9threading5fatalEPKcz");

void swift_threading_fatal(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    abort();
}
#endif
