/* flux - a host that uses an installed libflux-core, without a broker
 *
 * Plugins are loaded with flux_plugin_load_dso() and called with flux_plugin_call().
 * This file defines the functions that a plugin imports from the job manager:
 * flux_jobtap_get_flux(), whose handle is open to "loop://", and the other
 * flux_jobtap_*() (tests/fake/artifact.rs checks that the list is complete).
 *
 * The host implements some commands of tests/fake_job_manager/fake_job_manager.c:
 * load, repeat (tests/fake_job_manager/repeat.h) and advance.
 */
#include <flux/core.h>
#include <flux/jobtap.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake_job_manager/repeat.h"

static flux_t *handle;
static flux_plugin_t *plugin;

static void die (const char *what)
{
    fprintf (stderr, "host: %s\n", what);
    exit (2);
}

flux_t *flux_jobtap_get_flux (flux_plugin_t *p)
{
    return handle;
}

int flux_jobtap_error (flux_plugin_t *p,
                       flux_plugin_arg_t *args,
                       const char *fmt,
                       ...)
{
    va_list ap;
    va_start (ap, fmt);
    vfprintf (stderr, fmt, ap);
    va_end (ap);
    return -1;
}

/* The measured code does not call these functions. */
int flux_jobtap_get_job_result (flux_plugin_t *p,
                                flux_jobid_t id,
                                flux_job_result_t *resultp)
{
    return -1;
}

int flux_jobtap_job_event_posted (flux_plugin_t *p, flux_jobid_t id, const char *name)
{
    return -1;
}

flux_plugin_arg_t *flux_jobtap_job_lookup (flux_plugin_t *p, flux_jobid_t id)
{
    return NULL;
}

struct flux_plugin_arg *repeat_args (json_t *in)
{
    flux_plugin_arg_t *args = flux_plugin_arg_create ();
    if (!args
        || flux_plugin_arg_pack (args, FLUX_PLUGIN_ARG_IN, "O", in) < 0)
        die ("no arguments");
    return args;
}

void repeat_args_destroy (struct flux_plugin_arg *args)
{
    flux_plugin_arg_destroy (args);
}

static inline void repeat_call (struct flux_plugin *p,
                                const char *topic,
                                struct flux_plugin_arg *args)
{
    flux_plugin_call (p, topic, args);
}

/* Runs libflux's reactor once, which calls the prepare watchers. */
static inline void repeat_turn (void)
{
    flux_reactor_run (flux_get_reactor (handle), FLUX_REACTOR_NOWAIT);
}

static json_t *load (json_t *command)
{
    const char *path = json_string_value (json_object_get (command, "path"));
    char *conf = json_dumps (json_object_get (command, "conf"), 0);
    plugin = flux_plugin_create ();
    if (!plugin || flux_plugin_set_flags (plugin, FLUX_PLUGIN_RTLD_NOW) < 0)
        die ("flux_plugin_create");
    flux_plugin_set_conf (plugin, conf);
    free (conf);
    if (flux_plugin_load_dso (plugin, path) < 0)
        return json_pack ("{s:s}", "error", flux_plugin_strerror (plugin));
    json_t *none = json_pack ("{s:{}}", "conf");
    flux_plugin_arg_t *args = repeat_args (none);
    int rc = flux_plugin_call (plugin, "conf.update", args);
    flux_plugin_arg_destroy (args);
    json_decref (none);
    return rc < 0 ? json_pack ("{s:s}", "error", "conf.update failed")
                  : json_pack ("{s:b}", "ok", 1);
}

static void stop_cb (flux_reactor_t *r, flux_watcher_t *w, int revents, void *arg)
{
    flux_reactor_stop (r);
}

static void advance (double seconds)
{
    flux_reactor_t *r = flux_get_reactor (handle);
    flux_watcher_t *w = flux_timer_watcher_create (r, seconds, 0., stop_cb, NULL);
    flux_watcher_start (w);
    flux_reactor_run (r, 0);
    flux_watcher_destroy (w);
}

static void answer (json_t *object)
{
    json_dumpf (object, stdout, JSON_COMPACT);
    putchar ('\n');
    fflush (stdout);
    json_decref (object);
}

int main (void)
{
    char *line = NULL;
    size_t size = 0;
    /* With a fixed seed, jansson's hash tables have the same cost in each run. */
    json_object_seed (1);
    if (!(handle = flux_open ("loop://", 0)))
        die ("flux_open");
    /* Without a broker, a request for an attribute would never be answered. */
    const char *attributes[][2] = {
        { "version", FLUX_CORE_VERSION_STRING },
        { "hostname", "host1" },
        { "rank", "0" },
        { "jobid", "f1" },
        { "instance-level", "0" },
    };
    for (int i = 0; i < sizeof (attributes) / sizeof (attributes[0]); i++) {
        if (flux_attr_set_cacheonly (handle, attributes[i][0], attributes[i][1]) < 0)
            die ("flux_attr_set_cacheonly");
    }
    while (getline (&line, &size, stdin) > 0) {
        json_t *command = json_loads (line, 0, NULL);
        const char *op = json_string_value (json_object_get (command, "op"));
        if (!op)
            die ("a command is not JSON, or has no op");
        if (strcmp (op, "load") == 0)
            answer (load (command));
        else if (strcmp (op, "repeat") == 0)
            answer (repeat (plugin, command));
        else if (strcmp (op, "advance") == 0)
            advance (json_number_value (json_object_get (command, "seconds")));
        else
            die ("unknown op");
        json_decref (command);
    }
    free (line);
    flux_plugin_destroy (plugin);
    flux_close (handle);
    return 0;
}
