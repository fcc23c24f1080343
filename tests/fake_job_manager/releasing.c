/* releasing - a jobtap plugin that posts events from within its callbacks
 *
 * Jobs with the dependency "releasing:X" wait. When another job runs, it removes their
 * dependencies before its callback returns: Flux takes those jobs to SCHED meanwhile,
 * and calls all plugins for them.
 */
#include <stddef.h>

#include "tests/fake_job_manager/test_plugins.h"

#define MAX_WAITING 64
#define DESCRIPTION "releasing"

static flux_jobid_t waiting[MAX_WAITING];
static int waiting_count;

static int depend_cb (flux_plugin_t *p,
                      const char *topic,
                      flux_plugin_arg_t *args,
                      void *arg)
{
    flux_jobid_t id;
    if (waiting_count == MAX_WAITING
        || flux_plugin_arg_unpack (args, FLUX_PLUGIN_ARG_IN, "{s:I}", "id", &id) < 0)
        return -1;
    waiting[waiting_count++] = id;
    return flux_jobtap_dependency_add (p, id, DESCRIPTION);
}

static int run_cb (flux_plugin_t *p,
                   const char *topic,
                   flux_plugin_arg_t *args,
                   void *arg)
{
    while (waiting_count > 0)
        flux_jobtap_dependency_remove (p, waiting[--waiting_count], DESCRIPTION);
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    if (flux_plugin_add_handler (p, "job.dependency.releasing", depend_cb, NULL) < 0)
        return -1;
    return flux_plugin_add_handler (p, "job.state.run", run_cb, NULL);
}
