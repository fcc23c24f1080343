/* test_plugins.h - functions of Flux that the tests' plugins and the fake job manager use, and
 * the plugin under test does not (wrapper.h)
 */
#include "wrapper.h"

#ifndef STATE_COUNTS_HAVE_FLUX
const char *flux_job_statetostr (flux_job_state_t state, const char *fmt);
int flux_plugin_set_name (flux_plugin_t *p, const char *name);
int flux_plugin_arg_pack (flux_plugin_arg_t *args, int flags, const char *fmt, ...);
int flux_plugin_conf_unpack (flux_plugin_t *p, const char *fmt, ...);
int flux_jobtap_dependency_add (flux_plugin_t *p, flux_jobid_t id, const char *description);
int flux_jobtap_dependency_remove (flux_plugin_t *p,
                                   flux_jobid_t id,
                                   const char *description);
int flux_jobtap_priority_unavail (flux_plugin_t *p, flux_plugin_arg_t *args);
#endif
