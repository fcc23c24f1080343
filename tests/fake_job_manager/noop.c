/* noop - the minimal cost of a plugin that handles transitions
 *
 * It unpacks the two integers of a transition and does nothing with them, which gives the
 * minimal time. With IDLE it unpacks nothing, which gives the minimal number of allocations
 * and the minimal memory.
 */
#include <stddef.h>

#include "tests/fake_job_manager/test_plugins.h"

static int state_cb (flux_plugin_t *p,
                     const char *topic,
                     flux_plugin_arg_t *args,
                     void *arg)
{
#ifndef IDLE
    int state = 0;
    int prev_state = 0;
    flux_plugin_arg_unpack (args,
                            FLUX_PLUGIN_ARG_IN,
                            "{s:i s?i}",
                            "state", &state,
                            "prev_state", &prev_state);
#endif
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    return flux_plugin_add_handler (p, "job.state.*", state_cb, NULL);
}
