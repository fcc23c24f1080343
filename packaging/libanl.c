/* A substitute for glibc's libanl.so.1, used only to link the plugin.
 *
 * Before glibc 2.34, getaddrinfo_a(3) and related functions are in libanl.so.1. Later
 * versions have them in libc and install an empty libanl.so.1. The plugin is linked
 * with libanl.so.1 so that it loads with both. zig provides stubs of all other glibc
 * libraries. This code is never run; scripts/package adds glibc's symbol versions.
 */
void getaddrinfo_a (void) {}
void gai_error (void) {}
void gai_cancel (void) {}
