/* noop - what every plugin that looks at transitions has to pay
 *
 * It unpacks the two integers of a transition and does nothing with them: the
 * floor under what our own plugin takes of time. With IDLE it does not even that:
 * the floor under allocations and memory.
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
