/* send - the lower bound for sending each transition immediately
 *
 * The callback unpacks the two integers, as in noop.c, and sends a prepared datagram with
 * the bytes that state-counts would send.
 */
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wrapper.h"

static const char *sched = "flux.job.state.SCHED:+1|g\nflux.job.state.PRIORITY:-1|g";
static const char *priority = "flux.job.state.PRIORITY:+1|g\nflux.job.state.SCHED:-1|g";
static int fd;

static int state_cb (flux_plugin_t *p,
                     const char *topic,
                     flux_plugin_arg_t *args,
                     void *arg)
{
    int state = 0;
    int prev_state = 0;
    flux_plugin_arg_unpack (args,
                            FLUX_PLUGIN_ARG_IN,
                            "{s:i s?i}",
                            "state", &state,
                            "prev_state", &prev_state);
    const char *datagram = state == FLUX_JOB_STATE_SCHED ? sched : priority;
    (void)!send (fd, datagram, strlen (datagram), MSG_NOSIGNAL);
    return 0;
}

/* Expects FLUX_FRIPP_STATSD to be "127.0.0.1:PORT". */
int flux_plugin_init (flux_plugin_t *p)
{
    const char *endpoint = getenv ("FLUX_FRIPP_STATSD");
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
        .sin_port = htons (atoi (strchr (endpoint, ':') + 1)),
    };
    fd = socket (AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect (fd, (struct sockaddr *)&to, sizeof (to)) < 0)
        return -1;
    return flux_plugin_add_handler (p, "job.state.*", state_cb, NULL);
}
