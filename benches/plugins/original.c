/* original - the plugin before it was written in Rust
 *
 * The benchmarks and scripts/experiment compare state-counts with it. Each job.state.*
 * callback adds 1 to the gauge of the job's state and subtracts 1 from the gauge of its
 * previous state, with flux-core's flux_stats_gauge_inc(). The plugin never sends an
 * absolute value and does not count jobs that enter NEW, because Flux does not call
 * job.state.new.
 *
 * Configuration: prefix (default "flux.job.state"), and period in seconds (default 1, as
 * in flux-core). With period 0, each change is sent immediately in its own datagram.
 * With counters=1, the changes are sent with flux_stats_count() instead, as in the first
 * version of the plugin.
 */
#include <flux/core.h>
#include <flux/jobtap.h>

static void (*add) (flux_t *h, const char *name, ssize_t change) = flux_stats_gauge_inc;

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
                                "prev_state", &prev_state) < 0) {
        flux_log (h, LOG_ERR, "original: %s", flux_plugin_arg_strerror (args));
        return 0;
    }
    add (h, flux_job_statetostr (state, "L"), 1);
    if (prev_state != 0)
        add (h, flux_job_statetostr (prev_state, "L"), -1);
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    flux_t *h = flux_jobtap_get_flux (p);
    const char *prefix = "flux.job.state";
    double period = 1.0;
    int counters = 0;

    if (!h
        || flux_plugin_conf_unpack (p,
                                    "{s?s s?F s?i}",
                                    "prefix", &prefix,
                                    "period", &period,
                                    "counters", &counters) < 0)
        return -1;
    if (counters)
        add = flux_stats_count;
    flux_stats_set_prefix (h, "%s", prefix);
    flux_stats_set_period (h, period);
    return flux_plugin_add_handler (p, "job.state.*", state_cb, h);
}
