/* The parts of flux-core's C interface that this crate uses, jansson's functions that read a
 * callback's arguments, and glibc's getaddrinfo_a(3) and pthread_setcancelstate(3), which the
 * libc crate lacks.
 *
 * If Flux is installed (STATE_COUNTS_HAVE_FLUX), its headers declare the interface. Otherwise
 * the declarations below do, so that the plugin builds without Flux. The broker that loads
 * the plugin provides the symbols.
 *
 * A declaration that differs from Flux's or jansson's is a compile error if both are
 * included, as in tests/fake/headers.rs (STATE_COUNTS_CHECK). C allows a function or a
 * typedef to be declared twice if both are equal; constants cannot be, so they are asserted.
 * The structs are opaque.
 */
#include <netdb.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#ifdef STATE_COUNTS_HAVE_FLUX
#include <flux/core.h>
#include <flux/jobtap.h>
#endif

#if !defined (STATE_COUNTS_HAVE_FLUX)
typedef enum {
    FLUX_JOB_STATE_NEW = 1,
    FLUX_JOB_STATE_DEPEND = 2,
    FLUX_JOB_STATE_PRIORITY = 4,
    FLUX_JOB_STATE_SCHED = 8,
    FLUX_JOB_STATE_RUN = 16,
    FLUX_JOB_STATE_CLEANUP = 32,
    FLUX_JOB_STATE_INACTIVE = 64,
} flux_job_state_t;

typedef enum {
    FLUX_JOB_RESULT_COMPLETED = 1,
    FLUX_JOB_RESULT_FAILED = 2,
    FLUX_JOB_RESULT_CANCELED = 4,
    FLUX_JOB_RESULT_TIMEOUT = 8,
} flux_job_result_t;

typedef uint64_t flux_jobid_t;
typedef struct flux_handle flux_t;
typedef struct flux_reactor flux_reactor_t;
typedef struct flux_watcher flux_watcher_t;
typedef struct flux_future flux_future_t;
typedef struct flux_msg flux_msg_t;
typedef struct flux_msg_handler flux_msg_handler_t;
typedef struct flux_plugin flux_plugin_t;
typedef struct flux_plugin_arg flux_plugin_arg_t;

enum { FLUX_PLUGIN_ARG_IN = 0, FLUX_PLUGIN_ARG_OUT = 1 };
enum { FLUX_NODEID_ANY = 0xFFFFFFFF };
enum { FLUX_POLLOUT = 2 };
enum { FLUX_RPC_NORESPONSE = 1 };
enum { FLUX_MSGTYPE_EVENT = 4 };
enum { FLUX_MATCHTAG_NONE = 0 };

struct flux_match {
    int typemask;
    uint32_t matchtag;
    const char *topic_glob;
};
#else
_Static_assert (FLUX_JOB_STATE_NEW == 1, "NEW");
_Static_assert (FLUX_JOB_STATE_DEPEND == 2, "DEPEND");
_Static_assert (FLUX_JOB_STATE_PRIORITY == 4, "PRIORITY");
_Static_assert (FLUX_JOB_STATE_SCHED == 8, "SCHED");
_Static_assert (FLUX_JOB_STATE_RUN == 16, "RUN");
_Static_assert (FLUX_JOB_STATE_CLEANUP == 32, "CLEANUP");
_Static_assert (FLUX_JOB_STATE_INACTIVE == 64, "INACTIVE");
_Static_assert (FLUX_JOB_RESULT_COMPLETED == 1, "COMPLETED");
_Static_assert (FLUX_JOB_RESULT_FAILED == 2, "FAILED");
_Static_assert (FLUX_JOB_RESULT_CANCELED == 4, "CANCELED");
_Static_assert (FLUX_JOB_RESULT_TIMEOUT == 8, "TIMEOUT");
_Static_assert (FLUX_JOBTAP_CURRENT_JOB == UINT64_MAX, "FLUX_JOBTAP_CURRENT_JOB");
_Static_assert (FLUX_PLUGIN_ARG_IN == 0, "FLUX_PLUGIN_ARG_IN");
_Static_assert (FLUX_PLUGIN_ARG_OUT == 1, "FLUX_PLUGIN_ARG_OUT");
_Static_assert (FLUX_NODEID_ANY == 0xFFFFFFFF, "FLUX_NODEID_ANY");
_Static_assert (FLUX_POLLOUT == 2, "FLUX_POLLOUT");
_Static_assert (FLUX_RPC_NORESPONSE == 1, "FLUX_RPC_NORESPONSE");
_Static_assert (FLUX_MSGTYPE_EVENT == 4, "FLUX_MSGTYPE_EVENT");
_Static_assert (FLUX_MATCHTAG_NONE == 0, "FLUX_MATCHTAG_NONE");
_Static_assert (sizeof (struct flux_match) == 8 + sizeof (char *)
                    && offsetof (struct flux_match, matchtag) == 4
                    && offsetof (struct flux_match, topic_glob) == 8,
                "struct flux_match");
#endif

#if !defined (STATE_COUNTS_HAVE_FLUX) || defined (STATE_COUNTS_CHECK)
typedef void (*flux_free_f) (void *arg);
typedef int (*flux_plugin_f) (flux_plugin_t *p,
                              const char *topic,
                              flux_plugin_arg_t *args,
                              void *data);
typedef void (*flux_watcher_f) (flux_reactor_t *r,
                                flux_watcher_t *w,
                                int revents,
                                void *arg);
typedef void (*flux_continuation_f) (flux_future_t *f, void *arg);
typedef void (*flux_msg_handler_f) (flux_t *h,
                                    flux_msg_handler_t *mh,
                                    const flux_msg_t *msg,
                                    void *arg);

int flux_plugin_add_handler (flux_plugin_t *p,
                             const char *topic,
                             flux_plugin_f cb,
                             void *arg);
int flux_plugin_aux_set (flux_plugin_t *p,
                         const char *key,
                         void *val,
                         flux_free_f free_fn);
const char *flux_plugin_get_conf (flux_plugin_t *p);
const char *flux_plugin_get_path (flux_plugin_t *p);
int flux_plugin_arg_set (flux_plugin_arg_t *args,
                         int flags,
                         const char *json_str);
int flux_plugin_arg_get (flux_plugin_arg_t *args,
                         int flags,
                         char **json_str);
int flux_plugin_arg_unpack (flux_plugin_arg_t *args,
                            int flags,
                            const char *fmt,
                            ...);
const char *flux_plugin_arg_strerror (flux_plugin_arg_t *args);
void flux_plugin_arg_destroy (flux_plugin_arg_t *args);

flux_t *flux_jobtap_get_flux (flux_plugin_t *p);
int flux_jobtap_error (flux_plugin_t *p,
                       flux_plugin_arg_t *args,
                       const char *fmt,
                       ...);

int flux_jobtap_get_job_result (flux_plugin_t *p,
                                flux_jobid_t id,
                                flux_job_result_t *rp);
int flux_jobtap_job_event_posted (flux_plugin_t *p,
                                  flux_jobid_t id,
                                  const char *name);
flux_plugin_arg_t *flux_jobtap_job_lookup (flux_plugin_t *p, flux_jobid_t id);

int flux_log (flux_t *h, int level, const char *fmt, ...);

void *flux_aux_get (flux_t *h, const char *name);
int flux_aux_set (flux_t *h, const char *name, void *aux, flux_free_f destroy);
const char *flux_attr_get (flux_t *h, const char *name);
flux_reactor_t *flux_get_reactor (flux_t *h);
double flux_reactor_now (flux_reactor_t *r);
flux_watcher_t *flux_timer_watcher_create (flux_reactor_t *r,
                                           double after,
                                           double repeat,
                                           flux_watcher_f cb,
                                           void *arg);
flux_watcher_t *flux_prepare_watcher_create (flux_reactor_t *r,
                                             flux_watcher_f cb,
                                             void *arg);
flux_watcher_t *flux_fd_watcher_create (flux_reactor_t *r,
                                        int fd,
                                        int events,
                                        flux_watcher_f cb,
                                        void *arg);
void flux_watcher_start (flux_watcher_t *w);
void flux_watcher_stop (flux_watcher_t *w);
void flux_watcher_destroy (flux_watcher_t *w);

flux_future_t *flux_event_subscribe_ex (flux_t *h, const char *topic, int flags);
flux_future_t *flux_event_unsubscribe_ex (flux_t *h, const char *topic, int flags);
int flux_event_decode (const flux_msg_t *msg, const char **topic, const char **s);
flux_msg_handler_t *flux_msg_handler_create (flux_t *h,
                                             const struct flux_match match,
                                             flux_msg_handler_f cb,
                                             void *arg);
void flux_msg_handler_start (flux_msg_handler_t *mh);
void flux_msg_handler_destroy (flux_msg_handler_t *mh);

flux_future_t *flux_rpc (flux_t *h,
                         const char *topic,
                         const char *s,
                         uint32_t nodeid,
                         int flags);
int flux_rpc_get (flux_future_t *f, const char **s);
int flux_future_then (flux_future_t *f,
                      double timeout,
                      flux_continuation_f cb,
                      void *arg);
void flux_future_incref (flux_future_t *f);
void flux_future_decref (flux_future_t *f);
void flux_future_destroy (flux_future_t *f);
#endif

/* jansson.h, the same in all of its version 2: JSON integers are long long. Declared here even
 * where Flux is installed: its headers do not include jansson's.
 */
#if defined (STATE_COUNTS_CHECK) && __has_include(<jansson.h>)
#include <jansson.h>
#endif
typedef struct json_t json_t;
json_t *json_object_get (const json_t *object, const char *key);
json_t *json_array_get (const json_t *array, size_t index);
const char *json_string_value (const json_t *string);
size_t json_string_length (const json_t *string);
long long json_integer_value (const json_t *integer);
double json_number_value (const json_t *json);
