/* second - a jobtap plugin that logs each job that it sees run
 */
#include <stddef.h>
#include <syslog.h>

#include "tests/fake_job_manager/test_plugins.h"

static int run_cb (flux_plugin_t *p,
                   const char *topic,
                   flux_plugin_arg_t *args,
                   void *arg)
{
    int state;
    int prev_state = 0;
    if (flux_plugin_arg_unpack (args,
                                FLUX_PLUGIN_ARG_IN,
                                "{s:i s?i}",
                                "state", &state,
                                "prev_state", &prev_state) == 0
        && state == FLUX_JOB_STATE_RUN)
        flux_log (flux_jobtap_get_flux (p), LOG_INFO, "second: a job runs");
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    return flux_plugin_add_handler (p, "job.state.*", run_cb, NULL);
}
