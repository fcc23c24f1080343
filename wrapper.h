/* The part of flux-core's C interface that this crate uses, and of glibc's what
 * the libc crate lacks: look-ups that do not wait (getaddrinfo_a(3)).
 *
 * Where Flux is installed (STATE_COUNTS_HAVE_FLUX), its own headers say it.
 * Elsewhere the declarations below stand in, so that the plugin still builds:
 * its symbols come from the broker that loads it, never from a library.
 *
 * Where both are seen, a declaration that differs from Flux's is a compile
 * error: tests/headers.rs compiles this file with both. C lets a function or a
 * typedef stand twice, if both say the same; constants cannot, so they are
 * asserted instead. The structs are opaque: their tags are Flux's own affair.
 */
#include <netdb.h>
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
enum { FLUX_ROLE_USER = 2 };
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
_Static_assert (FLUX_ROLE_USER == 2, "FLUX_ROLE_USER");
_Static_assert (FLUX_NODEID_ANY == 0xFFFFFFFF, "FLUX_NODEID_ANY");
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
typedef void (*flux_msg_handler_f) (flux_t *h,
                                    flux_msg_handler_t *mh,
                                    const flux_msg_t *msg,
                                    void *arg);
typedef void (*flux_continuation_f) (flux_future_t *f, void *arg);

int flux_plugin_add_handler (flux_plugin_t *p,
                             const char *topic,
                             flux_plugin_f cb,
                             void *arg);
int flux_plugin_aux_set (flux_plugin_t *p,
                         const char *key,
                         void *val,
                         flux_free_f free_fn);
int flux_plugin_set_name (flux_plugin_t *p, const char *name);
const char *flux_plugin_get_conf (flux_plugin_t *p);
int flux_plugin_arg_set (flux_plugin_arg_t *args,
                         int flags,
                         const char *json_str);
int flux_plugin_arg_get (flux_plugin_arg_t *args,
                         int flags,
                         char **json_str);
int flux_plugin_arg_pack (flux_plugin_arg_t *args,
                          int flags,
                          const char *fmt,
                          ...);
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
int flux_jobtap_reject_job (flux_plugin_t *p,
                            flux_plugin_arg_t *args,
                            const char *fmt,
                            ...);

int flux_jobtap_service_register_ex (flux_plugin_t *p,
                                     const char *method,
                                     uint32_t rolemask,
                                     flux_msg_handler_f cb,
                                     void *arg);

int flux_jobtap_reprioritize_all (flux_plugin_t *p);
int flux_jobtap_reprioritize_job (flux_plugin_t *p,
                                  flux_jobid_t id,
                                  unsigned int priority);
int flux_jobtap_priority_unavail (flux_plugin_t *p, flux_plugin_arg_t *args);

int flux_jobtap_dependency_add (flux_plugin_t *p,
                                flux_jobid_t id,
                                const char *description);
int flux_jobtap_dependency_remove (flux_plugin_t *p,
                                   flux_jobid_t id,
                                   const char *description);

int flux_jobtap_job_aux_set (flux_plugin_t *p,
                             flux_jobid_t id,
                             const char *name,
                             void *val,
                             flux_free_f free_fn);
void *flux_jobtap_job_aux_get (flux_plugin_t *p,
                               flux_jobid_t id,
                               const char *name);

int flux_jobtap_job_set_flag (flux_plugin_t *p,
                              flux_jobid_t id,
                              const char *flag);
int flux_jobtap_raise_exception (flux_plugin_t *p,
                                 flux_jobid_t id,
                                 const char *type,
                                 int severity,
                                 const char *fmt,
                                 ...);
int flux_jobtap_event_post_pack (flux_plugin_t *p,
                                 flux_jobid_t id,
                                 const char *name,
                                 const char *fmt,
                                 ...);

int flux_jobtap_get_job_result (flux_plugin_t *p,
                                flux_jobid_t id,
                                flux_job_result_t *rp);
int flux_jobtap_job_event_posted (flux_plugin_t *p,
                                  flux_jobid_t id,
                                  const char *name);
int flux_jobtap_job_subscribe (flux_plugin_t *p, flux_jobid_t id);
void flux_jobtap_job_unsubscribe (flux_plugin_t *p, flux_jobid_t id);
flux_plugin_arg_t *flux_jobtap_job_lookup (flux_plugin_t *p, flux_jobid_t id);

int flux_jobtap_prolog_start (flux_plugin_t *p, const char *description);
int flux_jobtap_prolog_finish (flux_plugin_t *p,
                               flux_jobid_t id,
                               const char *description,
                               int status);
int flux_jobtap_epilog_start (flux_plugin_t *p, const char *description);
int flux_jobtap_epilog_finish (flux_plugin_t *p,
                               flux_jobid_t id,
                               const char *description,
                               int status);

const char *flux_job_statetostr (flux_job_state_t state, const char *fmt);
int flux_log (flux_t *h, int level, const char *fmt, ...);

const char *flux_attr_get (flux_t *h, const char *name);
flux_reactor_t *flux_get_reactor (flux_t *h);
flux_watcher_t *flux_timer_watcher_create (flux_reactor_t *r,
                                           double after,
                                           double repeat,
                                           flux_watcher_f cb,
                                           void *arg);
flux_watcher_t *flux_prepare_watcher_create (flux_reactor_t *r,
                                             flux_watcher_f cb,
                                             void *arg);
void flux_watcher_start (flux_watcher_t *w);
void flux_watcher_stop (flux_watcher_t *w);
void flux_watcher_destroy (flux_watcher_t *w);

flux_future_t *flux_rpc (flux_t *h,
                         const char *topic,
                         const char *s,
                         uint32_t nodeid,
                         int flags);
int flux_rpc_get (flux_future_t *f, const char **s);
int flux_rpc_get_unpack (flux_future_t *f, const char *fmt, ...);
int flux_request_decode (const flux_msg_t *msg,
                         const char **topic,
                         const char **s);
int flux_msg_get_userid (const flux_msg_t *msg, uint32_t *userid);
int flux_respond (flux_t *h, const flux_msg_t *request, const char *s);
int flux_respond_error (flux_t *h,
                        const flux_msg_t *request,
                        int errnum,
                        const char *errstr);
int flux_future_then (flux_future_t *f,
                      double timeout,
                      flux_continuation_f cb,
                      void *arg);
void flux_future_incref (flux_future_t *f);
void flux_future_decref (flux_future_t *f);
void flux_future_destroy (flux_future_t *f);
#endif

/* What the oldest Flux's headers do not have, which is built against all the same.
 * Where they do, these say the same.
 */
int flux_jobtap_jobspec_update_pack (flux_plugin_t *p, const char *fmt, ...);
int flux_jobtap_jobspec_update_id_pack (flux_plugin_t *p,
                                        flux_jobid_t id,
                                        const char *fmt,
                                        ...);
int flux_jobtap_set_load_sort_order (flux_plugin_t *p, const char *mode);
