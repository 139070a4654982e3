/*
 * Included before every file of a prebuilt addon. glibc 2.32 and 2.34 gave these functions new versions when they
 * moved into libc.so. Under their first versions glibc 2.28, the oldest that Node runs on, also finds them.
 */
#if defined(__x86_64__)
#define FIRST_VERSION "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define FIRST_VERSION "GLIBC_2.17"
#else
#error "which was the first version of glibc here?"
#endif

#define AS_AT_FIRST(function) __asm__(".symver " #function "," #function "@" FIRST_VERSION)

AS_AT_FIRST(pthread_attr_setstacksize);
AS_AT_FIRST(pthread_create);
AS_AT_FIRST(pthread_join);
AS_AT_FIRST(pthread_sigmask);
