/* misbehaving - a jobtap plugin that keeps events from those loaded behind it, or
 * changes jobs that are rejected afterwards
 *
 * conf: {"fail": TOPIC}    returns -1 from that callback: flux-core then calls no
 *                          plugin behind it (jobtap.c, jobtap_stack_call)
 *       {"lose": PERCENT}  returns -1 from this share of all callbacks of accepted
 *                          jobs, chosen at random, but the same in each run
 *       {"wait": TOPIC}    has no priority for a job yet, from job.state.priority
 *       {"depend": TOPIC}  adds dependencies to each job: two with one name
 *       {"update": TOPIC}  posts a jobspec-update from that callback: other plugins get
 *                          job.update, even if the job is rejected later
 */
#include <stdio.h>
#include <string.h>

#include "tests/fake_job_manager/test_plugins.h"

/* Not in 0.49, which must load the plugin nevertheless. */
int flux_jobtap_jobspec_update_pack (flux_plugin_t *p, const char *fmt, ...)
    __attribute__ ((weak));

/* Not in the fake job manager. */
int flux_jobtap_priority_unavail (flux_plugin_t *p, flux_plugin_arg_t *args)
    __attribute__ ((weak));

int flux_jobtap_dependency_add (flux_plugin_t *p, flux_jobid_t id, const char *description)
    __attribute__ ((weak));

static int fail_cb (flux_plugin_t *p,
                    const char *topic,
                    flux_plugin_arg_t *args,
                    void *arg)
{
    return -1;
}

static unsigned int percent;

/* Knuth's MMIX generator: its high bits are random enough. */
static int lose_cb (flux_plugin_t *p,
                    const char *topic,
                    flux_plugin_arg_t *args,
                    void *arg)
{
    static unsigned long long number = 0x5deece66d;
    number = number * 6364136223846793005ULL + 1442695040888963407ULL;
    return (number >> 33) % 100 < percent ? -1 : 0;
}

static int update_cb (flux_plugin_t *p,
                      const char *topic,
                      flux_plugin_arg_t *args,
                      void *arg)
{
    flux_jobtap_jobspec_update_pack (p, "{s:s}", "attributes.system.bank", "default");
    return 0;
}

static int wait_cb (flux_plugin_t *p,
                    const char *topic,
                    flux_plugin_arg_t *args,
                    void *arg)
{
    return flux_jobtap_priority_unavail (p, args);
}

static int depend_cb (flux_plugin_t *p,
                      const char *topic,
                      flux_plugin_arg_t *args,
                      void *arg)
{
    flux_jobid_t id;
    flux_plugin_arg_unpack (args, FLUX_PLUGIN_ARG_IN, "{s:I}", "id", &id);
    flux_jobtap_dependency_add (p, id, "max-jobs=1");
    return flux_jobtap_dependency_add (p, id, "max-jobs=2");
}

int flux_plugin_init (flux_plugin_t *p)
{
    char topic[64] = "";
    const char *conf = flux_plugin_get_conf (p);
    if (conf && sscanf (conf, "{\"fail\": \"%63[^\"]", topic) == 1)
        return flux_plugin_add_handler (p, topic, fail_cb, NULL);
    if (conf && sscanf (conf, "{\"lose\": %u", &percent) == 1)
        return flux_plugin_add_handler (p, "job.new", lose_cb, NULL) < 0
               || flux_plugin_add_handler (p, "job.state.*", lose_cb, NULL) < 0
               || flux_plugin_add_handler (p, "job.inactive-*", lose_cb, NULL) < 0
                   ? -1
                   : 0;
    if (conf && sscanf (conf, "{\"wait\": \"%63[^\"]", topic) == 1)
        return flux_plugin_add_handler (p, topic, wait_cb, NULL);
    if (conf && sscanf (conf, "{\"depend\": \"%63[^\"]", topic) == 1)
        return flux_plugin_add_handler (p, topic, depend_cb, NULL);
    if (conf && sscanf (conf, "{\"update\": \"%63[^\"]", topic) == 1)
        return flux_plugin_add_handler (p, topic, update_cb, NULL);
    return -1;
}
