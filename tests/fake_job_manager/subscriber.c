/* subscriber - a jobtap plugin that logs each exception, by event messages
 */
#include <syslog.h>

#include "tests/fake_job_manager/test_plugins.h"

static flux_t *handle;

static void exception_cb (flux_t *h, flux_msg_handler_t *mh, const flux_msg_t *msg, void *arg)
{
    const char *text;
    if (flux_event_decode (msg, NULL, &text) == 0)
        flux_log (h, LOG_INFO, "subscriber: %s", text);
}

static void unsubscribe (void *mh)
{
    flux_msg_handler_destroy (mh);
    flux_future_destroy (flux_event_unsubscribe_ex (handle,
                                                    "job-exception",
                                                    FLUX_RPC_NORESPONSE));
}

int flux_plugin_init (flux_plugin_t *p)
{
    struct flux_match match = { FLUX_MSGTYPE_EVENT, FLUX_MATCHTAG_NONE, "job-exception" };
    handle = flux_jobtap_get_flux (p);
    flux_msg_handler_t *mh = flux_msg_handler_create (handle, match, exception_cb, NULL);
    flux_msg_handler_start (mh);
    flux_future_destroy (flux_event_subscribe_ex (handle,
                                                  "job-exception",
                                                  FLUX_RPC_NORESPONSE));
    return flux_plugin_aux_set (p, NULL, mh, unsubscribe);
}
