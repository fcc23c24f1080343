/* misbehaving - a jobtap plugin that keeps events from those loaded behind it, or
 * changes jobs that are rejected afterwards
 *
 * conf: {"fail": TOPIC}    returns -1 from that callback: flux-core then calls no
 *                          plugin behind it (jobtap.c, jobtap_stack_call)
 *       {"update": TOPIC}  posts a jobspec-update from that callback: the others
 *                          hear job.update, whatever becomes of the job
 */
#include <stdio.h>
#include <string.h>

#include "wrapper.h"

/* Not in 0.49, where the plugin has to load all the same. */
int flux_jobtap_jobspec_update_pack (flux_plugin_t *p, const char *fmt, ...)
    __attribute__ ((weak));

static int fail_cb (flux_plugin_t *p,
                    const char *topic,
                    flux_plugin_arg_t *args,
                    void *arg)
{
    return -1;
}

static int update_cb (flux_plugin_t *p,
                      const char *topic,
                      flux_plugin_arg_t *args,
                      void *arg)
{
    flux_jobtap_jobspec_update_pack (p, "{s:s}", "attributes.system.bank", "default");
    return 0;
}

int flux_plugin_init (flux_plugin_t *p)
{
    char topic[64] = "";
    const char *conf = flux_plugin_get_conf (p);
    if (conf && sscanf (conf, "{\"fail\":\"%63[^\"]", topic) == 1)
        return flux_plugin_add_handler (p, topic, fail_cb, NULL);
    if (conf && sscanf (conf, "{\"update\":\"%63[^\"]", topic) == 1)
        return flux_plugin_add_handler (p, topic, update_cb, NULL);
    return -1;
}
