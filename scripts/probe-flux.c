/* probe - a jobtap plugin that logs the callbacks that it receives
 *
 * scripts/probe-flux loads it after Flux's own plugins.
 */
#include <stddef.h>

#include "wrapper.h"

static int new_cb (flux_plugin_t *p, const char *topic, flux_plugin_arg_t *args, void *arg)
{
    flux_log (flux_jobtap_get_flux (p), 6, "probe: job.new");
    return 0;
}

static int run_cb (flux_plugin_t *p, const char *topic, flux_plugin_arg_t *args, void *arg)
{
    void *R = NULL;
    if (flux_plugin_arg_unpack (args, FLUX_PLUGIN_ARG_IN, "{s:o}", "R", &R) == 0)
        flux_log (flux_jobtap_get_flux (p), 6, "probe: R");
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    if (flux_plugin_add_handler (p, "job.new", new_cb, NULL) < 0)
        return -1;
    return flux_plugin_add_handler (p, "job.state.run", run_cb, NULL);
}
