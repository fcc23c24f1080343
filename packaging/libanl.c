/* A stand-in for glibc's libanl.so.1, to link against.
 *
 * Before glibc 2.34 getaddrinfo_a(3) and its kin are in that library; since
 * then they are in libc, and libanl.so.1 is an empty one that is still
 * installed. The plugin names it, so that it loads with either. zig brings all
 * of glibc's libraries to link against but this one. Nothing of it is run: only
 * the names count, which scripts/package gives their version in glibc.
 */
void getaddrinfo_a (void) {}
void gai_error (void) {}
void gai_cancel (void) {}
