/* The seed's form of the plugin, for scripts/experiment to compare with: the
 * same idea on flux-core's own flux_stats_* calls. Each job.state.* callback
 * adds 1 to the gauge of the job's state and takes 1 from the gauge of its
 * previous state. It repeats the seed's mistakes on purpose: it does not hear
 * of NEW (there is no job.state.new), and no absolute value is ever sent.
 *
 * Configuration: period, in seconds; 0 sends each change at once, in a datagram
 * of its own, as the seed did; 1 is flux-core's default.
 */
#include <flux/core.h>
#include <flux/jobtap.h>

#define UNKNOWN 0

static int count (flux_plugin_t *p,
                  const char *topic,
                  flux_plugin_arg_t *args,
                  void *arg)
{
    flux_t *h = flux_jobtap_get_flux (p);
    int state = UNKNOWN;
    int previous = UNKNOWN;

    if (flux_plugin_arg_unpack (args,
                                FLUX_PLUGIN_ARG_IN,
                                "{s:i s?i}",
                                "state", &state,
                                "prev_state", &previous) < 0) {
        flux_log (h, LOG_ERR, "seed: %s", flux_plugin_arg_strerror (args));
        return 0;
    }
    flux_stats_gauge_inc (h, flux_job_statetostr (state, "L"), 1);
    if (previous != UNKNOWN)
        flux_stats_gauge_inc (h, flux_job_statetostr (previous, "L"), -1);
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    flux_t *h = flux_jobtap_get_flux (p);
    double period = 0;

    if (!h || flux_plugin_conf_unpack (p, "{s?F}", "period", &period) < 0)
        return -1;
    /* Not flux.job.state: both forms run in one instance. */
    flux_stats_set_prefix (h, "seed.job.state");
    flux_stats_set_period (h, period);
    return flux_plugin_add_handler (p, "job.state.*", count, NULL);
}
