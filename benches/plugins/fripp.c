/* fripp - the same gauges on flux-core's own flux_stats_gauge_inc()
 *
 * This is what the plugin was before it was written in Rust. Conf is
 * {"period":S}: 0 sends each change at once, else flux-core sums over S seconds.
 */
#include <flux/core.h>
#include <flux/jobtap.h>

static int state_cb (flux_plugin_t *p,
                     const char *topic,
                     flux_plugin_arg_t *args,
                     void *arg)
{
    flux_t *h = arg;
    flux_job_state_t state = 0;
    flux_job_state_t prev_state = 0;
    if (flux_plugin_arg_unpack (args,
                                FLUX_PLUGIN_ARG_IN,
                                "{s:i s?i}",
                                "state", &state,
                                "prev_state", &prev_state) < 0)
        return 0;
    flux_stats_gauge_inc (h, flux_job_statetostr (state, "L"), 1);
    if (prev_state != 0)
        flux_stats_gauge_inc (h, flux_job_statetostr (prev_state, "L"), -1);
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    flux_t *h = flux_jobtap_get_flux (p);
    double period = 1.0;
    flux_plugin_conf_unpack (p, "{s?F}", "period", &period);
    flux_stats_set_prefix (h, "flux.job.state");
    flux_stats_set_period (h, period);
    return flux_plugin_add_handler (p, "job.state.*", state_cb, h);
}
