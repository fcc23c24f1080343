/* standin - loads jobtap plugins the way Flux's job manager does, without Flux
 *
 * It does to a plugin what flux-core 0.88.0 does (jobtap.c, plugin.c): dlopen
 * with RTLD_NOW, flux_plugin_init, conf.update, the announcement of the jobs
 * that are there, the callbacks, and at removal the aux destructors and then
 * dlclose. All of it happens in a thread of its own, as in the job manager, and
 * that thread ends before the process does: what a plugin leaves behind in a
 * thread shows as a crash.
 *
 * It also keeps books of its own, by job id, to compare a plugin with: a naive
 * recount of what the callbacks said.
 *
 * Commands come as JSON objects, one a line, on standard input. Time stands
 * still but for "advance": a run is the same each time.
 *
 *   {"op":"load", "path":P, "conf":{}, "announce":A}   A: "live" (default),
 *                            "restart", or "restart-doubled" (before 0.87.0)
 *   {"op":"remove", "name":N}       N: the file's name
 *   {"op":"call", "topic":T, "in":{}}   a callback, to all plugins in order
 *   {"op":"advance", "seconds":S}   timers fire; requests are answered
 *   {"op":"config", "conf":{}}      the broker's configuration, for those loaded
 *                                   later; changes nothing for those loaded
 *   {"op":"reload"}                 conf.update to all plugins, as after
 *                                   flux config reload
 *   {"op":"query", "name":N}        plugin.query
 *   {"op":"rpc", "mode":M}          M: "answer" (default), "hold", "fail"
 *   {"op":"rpc-take"}               held requests see the counts of this moment
 *   {"op":"rpc-deliver"}            held requests get their answer
 *   {"op":"counts"}  {"op":"queues"}  {"op":"log"}  {"op":"mapped", "name":N}
 *   {"op":"repeat", …}              a plugin against the clock (repeat.h)
 *
 * load, remove, reload, query, counts, queues, log and mapped answer with one JSON
 * object on a line.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrapper.h"

#define MAX_ITEMS 64

struct handler {
    char *topic;
    flux_plugin_f cb;
    void *arg;
};

struct flux_plugin {
    void *dso;
    char *name;
    char *conf;
    struct handler handlers[MAX_ITEMS];
    int handler_count;
    struct { void *val; flux_free_f destroy; } aux[MAX_ITEMS];
    int aux_count;
};

struct flux_plugin_arg {
    json_error_t error;
    json_t *in;
    json_t *out;
};

struct flux_watcher {
    double due;
    double repeat;
    bool active;
    flux_watcher_f cb;
    void *arg;
    struct flux_watcher *next;
};

struct flux_future {
    int refcount;
    bool taken;
    bool delivered;
    bool failed;
    bool by_queue;      // job-list.job-stats, else job-manager.stats-get
    json_int_t inactive;
    char *text;
    flux_continuation_f cb;
    void *arg;
    struct flux_future *next;
};

static struct flux_plugin *plugins[MAX_ITEMS];
static int plugin_count;
static struct flux_watcher *watchers;
static struct flux_future *futures;
static double now;
static enum { RPC_ANSWER, RPC_HOLD, RPC_FAIL } rpc_mode;
static json_t *config;      // the broker's
static json_t *jobs;        // id -> the job's "in", with its current state
static json_t *current;     // the callback's "in"
static json_t *log_lines;
static int silenced;        // callbacks that did not reach the plugins behind

static void die (const char *what)
{
    fprintf (stderr, "standin: %s\n", what);
    exit (2);
}

/* The functions that a plugin imports.
 */

flux_t *flux_jobtap_get_flux (flux_plugin_t *p)
{
    return (flux_t *)&plugins;
}

flux_reactor_t *flux_get_reactor (flux_t *h)
{
    return (flux_reactor_t *)&watchers;
}

int flux_plugin_add_handler (flux_plugin_t *p,
                             const char *topic,
                             flux_plugin_f cb,
                             void *arg)
{
    if (p->handler_count == MAX_ITEMS)
        return -1;
    struct handler *h = &p->handlers[p->handler_count++];
    h->topic = strdup (topic);
    h->cb = cb;
    h->arg = arg;
    return 0;
}

int flux_plugin_aux_set (flux_plugin_t *p,
                         const char *key,
                         void *val,
                         flux_free_f destroy)
{
    if (p->aux_count == MAX_ITEMS)
        return -1;
    p->aux[p->aux_count].val = val;
    p->aux[p->aux_count++].destroy = destroy;
    return 0;
}

/* As in flux-core's jobtap.c, from the current job's end_event. */
int flux_jobtap_get_job_result (flux_plugin_t *p,
                                flux_jobid_t id,
                                flux_job_result_t *rp)
{
    const char *name = NULL;
    const char *type = "";
    int status = -1;
    if (json_unpack (current,
                     "{s:{s:s s:{s?i s?s}}}",
                     "end_event",
                     "name", &name,
                     "context",
                     "status", &status,
                     "type", &type) < 0) {
        errno = EINVAL;
        return -1;
    }
    *rp = FLUX_JOB_RESULT_FAILED;
    if (strcmp (name, "finish") == 0 && status == 0)
        *rp = FLUX_JOB_RESULT_COMPLETED;
    else if (strcmp (type, "cancel") == 0)
        *rp = FLUX_JOB_RESULT_CANCELED;
    else if (strcmp (type, "timeout") == 0)
        *rp = FLUX_JOB_RESULT_TIMEOUT;
    return 0;
}

int flux_jobtap_job_subscribe (flux_plugin_t *p, flux_jobid_t id)
{
    return 0; // every callback goes to every plugin here
}

const char *flux_plugin_get_conf (flux_plugin_t *p)
{
    return p->conf;
}

int flux_plugin_arg_unpack (flux_plugin_arg_t *args,
                            int flags,
                            const char *fmt,
                            ...)
{
    va_list ap;
    va_start (ap, fmt);
    int rc = json_vunpack_ex (args->in, &args->error, 0, fmt, ap);
    va_end (ap);
    return rc;
}

int flux_plugin_arg_get (flux_plugin_arg_t *args, int flags, char **json_str)
{
    *json_str = json_dumps (flags & FLUX_PLUGIN_ARG_OUT ? args->out : args->in, 0);
    return *json_str ? 0 : -1;
}

int flux_plugin_arg_set (flux_plugin_arg_t *args, int flags, const char *json_str)
{
    json_t *o = json_loads (json_str, 0, &args->error);
    if (!o)
        return -1;
    json_object_update (flags & FLUX_PLUGIN_ARG_OUT ? args->out : args->in, o);
    json_decref (o);
    return 0;
}

const char *flux_attr_get (flux_t *h, const char *name)
{
    if (strcmp (name, "hostname") == 0)
        return "node17.example.org";
    if (strcmp (name, "rank") == 0 || strcmp (name, "instance-level") == 0)
        return "0";
    errno = ENOENT; // jobid: it runs as no job
    return NULL;
}

const char *flux_plugin_arg_strerror (flux_plugin_arg_t *args)
{
    return args->error.text;
}

int flux_jobtap_error (flux_plugin_t *p,
                       flux_plugin_arg_t *args,
                       const char *fmt,
                       ...)
{
    char text[160]; // as flux_error_t
    va_list ap;
    va_start (ap, fmt);
    vsnprintf (text, sizeof (text), fmt, ap);
    va_end (ap);
    json_object_set_new (args->out, "errmsg", json_string (text));
    return -1;
}

/* As in flux-core's libjob/state.c. */
const char *flux_job_statetostr (flux_job_state_t state, const char *fmt)
{
    static const struct { int state; const char *l, *L, *s, *S; } names[] = {
        { FLUX_JOB_STATE_NEW, "new", "NEW", "n", "N" },
        { FLUX_JOB_STATE_DEPEND, "depend", "DEPEND", "d", "D" },
        { FLUX_JOB_STATE_PRIORITY, "priority", "PRIORITY", "p", "P" },
        { FLUX_JOB_STATE_SCHED, "sched", "SCHED", "s", "S" },
        { FLUX_JOB_STATE_RUN, "run", "RUN", "r", "R" },
        { FLUX_JOB_STATE_CLEANUP, "cleanup", "CLEANUP", "c", "C" },
        { FLUX_JOB_STATE_INACTIVE, "inactive", "INACTIVE", "i", "I" },
    };
    for (size_t i = 0; i < sizeof (names) / sizeof (names[0]); i++) {
        if (names[i].state == (int)state) {
            switch (*fmt) {
                case 'l': return names[i].l;
                case 's': return names[i].s;
                case 'S': return names[i].S;
                default: return names[i].L;
            }
        }
    }
    return "(unknown)";
}

int flux_log (flux_t *h, int level, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start (ap, fmt);
    vsnprintf (text, sizeof (text), fmt, ap);
    va_end (ap);
    json_array_append_new (log_lines,
                           json_pack ("{s:i s:s}", "level", level, "text", text));
    return 0;
}

flux_watcher_t *flux_timer_watcher_create (flux_reactor_t *r,
                                           double after,
                                           double repeat,
                                           flux_watcher_f cb,
                                           void *arg)
{
    struct flux_watcher *w = calloc (1, sizeof (*w));
    w->due = now + after;
    w->repeat = repeat;
    w->cb = cb;
    w->arg = arg;
    w->next = watchers;
    watchers = w;
    return w;
}

void flux_watcher_start (flux_watcher_t *w)
{
    w->active = true;
}

void flux_watcher_destroy (flux_watcher_t *w)
{
    struct flux_watcher **link = &watchers;
    while (*link && *link != w)
        link = &(*link)->next;
    if (!*link)
        die ("a watcher was destroyed twice");
    *link = w->next;
    free (w);
}

flux_future_t *flux_rpc (flux_t *h,
                         const char *topic,
                         const char *s,
                         uint32_t nodeid,
                         int flags)
{
    struct flux_future *f = calloc (1, sizeof (*f));
    f->by_queue = (strcmp (topic, "job-list.job-stats") == 0);
    if (!f->by_queue && strcmp (topic, "job-manager.stats-get") != 0)
        die ("request for an unknown service");
    f->refcount = 1;
    f->failed = (rpc_mode == RPC_FAIL);
    f->next = futures;
    futures = f;
    return f;
}

int flux_future_then (flux_future_t *f,
                      double timeout,
                      flux_continuation_f cb,
                      void *arg)
{
    f->cb = cb;
    f->arg = arg;
    return 0;
}

void flux_future_incref (flux_future_t *f)
{
    f->refcount++;
}

void flux_future_decref (flux_future_t *f)
{
    if (--f->refcount > 0)
        return;
    struct flux_future **link = &futures;
    while (*link && *link != f)
        link = &(*link)->next;
    if (!*link)
        die ("a future was destroyed twice");
    *link = f->next;
    free (f->text);
    free (f);
}

void flux_future_destroy (flux_future_t *f)
{
    flux_future_decref (f);
}

int flux_rpc_get (flux_future_t *f, const char **s)
{
    if (f->failed || !f->delivered) {
        errno = ENOSYS;
        return -1;
    }
    *s = f->text;
    return 0;
}

int flux_rpc_get_unpack (flux_future_t *f, const char *fmt, ...)
{
    if (f->failed || !f->delivered) {
        errno = ENOSYS;
        return -1;
    }
    json_t *answer = json_pack ("{s:I}", "inactive_jobs", f->inactive);
    va_list ap;
    va_start (ap, fmt);
    int rc = json_vunpack_ex (answer, NULL, 0, fmt, ap);
    va_end (ap);
    json_decref (answer);
    if (rc < 0)
        errno = EPROTO;
    return rc;
}

/* The host's own books.
 */

static json_int_t state_of (json_t *job)
{
    return json_integer_value (json_object_get (job, "state"));
}

static json_int_t count_state (int state)
{
    const char *id;
    json_t *job;
    json_int_t count = 0;
    json_object_foreach (jobs, id, job)
        count += (state_of (job) == state);
    return count;
}

static const char *state_name (int state)
{
    return flux_job_statetostr (state, "l");
}

/* What flux job stats prints, as far as the plugin asks. */
static char *stats_by_queue (void)
{
    const char *id;
    json_t *job;
    json_t *queues = json_object ();
    json_object_foreach (jobs, id, job) {
        const char *name = json_string_value (json_object_get (job, "queue"));
        if (!*name)
            continue;
        json_t *queue = json_object_get (queues, name);
        if (!queue) {
            queue = json_object ();
            for (int state = FLUX_JOB_STATE_NEW; state <= FLUX_JOB_STATE_INACTIVE; state *= 2)
                json_object_set_new (queue, state_name (state), json_integer (0));
            json_object_set_new (queues, name, queue);
        }
        const char *state = state_name (state_of (job));
        json_int_t count = json_integer_value (json_object_get (queue, state));
        json_object_set_new (queue, state, json_integer (count + 1));
    }
    json_t *list = json_array ();
    json_t *queue;
    const char *name;
    json_object_foreach (queues, name, queue)
        json_array_append_new (list, json_pack ("{s:s s:O}", "name", name, "job_states", queue));
    json_t *answer = json_pack ("{s:o}", "queues", list);
    char *text = json_dumps (answer, 0);
    json_decref (answer);
    json_decref (queues);
    return text;
}

static void remember (const char *topic, json_t *in)
{
    const char *queue = "";
    json_unpack (in, "{s?{s?{s?{s?s}}}}", "jobspec", "attributes", "system", "queue", &queue);
    char id[32];
    snprintf (id,
              sizeof (id),
              "%lld",
              (long long)json_integer_value (json_object_get (in, "id")));
    if (strcmp (topic, "job.inactive-remove") == 0)
        json_object_del (jobs, id);
    else if (strcmp (topic, "job.new") == 0
             || strcmp (topic, "job.inactive-add") == 0
             || strcmp (topic, "job.update") == 0
             || fnmatch ("job.state.*", topic, 0) == 0) {
        json_t *job = json_pack ("{s:O s:O s:s s:{s:{s:{s:s}}}}",
                                 "id", json_object_get (in, "id"),
                                 "state", json_object_get (in, "state"),
                                 "queue", queue,
                                 "jobspec", "attributes", "system", "queue", queue);
        if (job)
            json_object_set_new (jobs, id, job);
    }
}

/* What the job manager does with plugins.
 */

static int call (struct flux_plugin *p, const char *topic, struct flux_plugin_arg *args)
{
    for (int i = 0; i < p->handler_count; i++) {
        struct handler *h = &p->handlers[i];
        if (fnmatch (h->topic, topic, 0) == 0)
            return h->cb (p, topic, args, h->arg);
    }
    return 0;
}

static int call_job (struct flux_plugin *p, const char *topic, json_t *in)
{
    struct flux_plugin_arg args = { .in = in, .out = json_object () };
    current = in;
    int rc = call (p, topic, &args);
    json_decref (args.out);
    return rc;
}

static void call_all (const char *topic, json_t *in)
{
    for (int i = 0; i < plugin_count; i++) {
        if (call_job (plugins[i], topic, in) < 0) {
            silenced++;
            return;
        }
    }
}

static void destroy (struct flux_plugin *p)
{
    for (int i = 0; i < p->handler_count; i++)
        free (p->handlers[i].topic);
    free (p->conf);
    for (int i = 0; i < p->aux_count; i++)
        p->aux[i].destroy (p->aux[i].val);
    if (p->dso)
        dlclose (p->dso);
    free (p->name);
    free (p);
}

static struct flux_plugin **find (const char *name)
{
    for (int i = 0; i < plugin_count; i++)
        if (strcmp (plugins[i]->name, name) == 0)
            return &plugins[i];
    return NULL;
}

static const char *conf_update (struct flux_plugin *p)
{
    static char error[512];
    struct flux_plugin_arg args = {
        .in = json_pack ("{s:O}", "conf", config),
        .out = json_object (),
    };
    int rc = call (p, "conf.update", &args);
    const char *text = json_string_value (json_object_get (args.out, "errmsg"));
    if (rc < 0)
        snprintf (error, sizeof (error), "%s", text ? text : "config rejected");
    json_decref (args.in);
    json_decref (args.out);
    return rc < 0 ? error : NULL;
}

static const char *load_dso (struct flux_plugin *p, const char *path, json_t *conf)
{
    static char error[512];
    const char *slash = strrchr (path, '/');
    p->name = strdup (slash ? slash + 1 : path);
    if (conf)
        p->conf = json_dumps (conf, JSON_ENCODE_ANY);
    if (!(p->dso = dlopen (path, RTLD_NOW | RTLD_LOCAL))) {
        snprintf (error, sizeof (error), "dlopen: %s", dlerror ());
        return error;
    }
    int (*init) (flux_plugin_t *) = dlsym (p->dso, "flux_plugin_init");
    if (init && init (p) < 0)
        return "flux_plugin_init failed";
    if (find (p->name))
        return "already loaded";
    return conf_update (p);
}

/* Loaded from the configuration, a plugin is there before the jobs: the
 * inactive ones are announced as they are read back, then the active ones.
 */
static void announce (struct flux_plugin *p, const char *how)
{
    const char *id;
    json_t *job;
    bool restart = strcmp (how, "live") != 0;
    if (restart) {
        int times = strcmp (how, "restart-doubled") == 0 ? 2 : 1;
        for (int i = 0; i < times; i++) {
            json_object_foreach (jobs, id, job)
                if (state_of (job) == FLUX_JOB_STATE_INACTIVE)
                    call_job (p, "job.inactive-add", job);
        }
    }
    json_object_foreach (jobs, id, job) {
        if (state_of (job) == FLUX_JOB_STATE_INACTIVE)
            continue;
        call_job (p, "job.create", job);
        call_job (p, "job.new", job);
        if (!restart && state_of (job) == FLUX_JOB_STATE_DEPEND)
            call_job (p, "job.state.depend", job);
    }
}

static const char *load (json_t *command)
{
    const char *path;
    const char *how = "live";
    json_t *conf = NULL;
    if (json_unpack (command,
                     "{s:s s?o s?s}",
                     "path", &path,
                     "conf", &conf,
                     "announce", &how) < 0)
        die ("load: bad command");
    struct flux_plugin *p = calloc (1, sizeof (*p));
    const char *error = load_dso (p, path, conf);
    if (error || plugin_count == MAX_ITEMS) {
        destroy (p);
        return error ? error : "too many plugins";
    }
    announce (p, how);
    plugins[plugin_count++] = p;
    return NULL;
}

static const char *unload (const char *name)
{
    struct flux_plugin **p = find (name);
    if (!p)
        return "not found";
    destroy (*p);
    plugin_count--;
    memmove (p, p + 1, (char *)&plugins[plugin_count] - (char *)p);
    return NULL;
}

/* All plugins hear of a changed configuration, until one refuses it.
 */
static const char *reload (void)
{
    const char *error = NULL;
    for (int i = 0; i < plugin_count && !error; i++)
        error = conf_update (plugins[i]);
    return error;
}

static json_t *query (const char *name)
{
    struct flux_plugin **p = find (name);
    if (!p)
        return json_pack ("{s:s}", "error", "not found");
    struct flux_plugin_arg args = { .in = json_object (), .out = json_object () };
    call (*p, "plugin.query", &args);
    json_decref (args.in);
    return args.out;
}

/* Time.
 */

static void rpc_take (void)
{
    for (struct flux_future *f = futures; f; f = f->next) {
        if (f->taken)
            continue;
        f->taken = true;
        f->inactive = count_state (FLUX_JOB_STATE_INACTIVE);
        if (f->by_queue)
            f->text = stats_by_queue ();
    }
}

static void rpc_deliver (void)
{
    struct flux_future *f = futures;
    while (f) {
        if (f->taken && !f->delivered && f->cb) {
            f->delivered = true;
            f->cb (f, f->arg);
            f = futures; // the callback may have changed the list
        }
        else
            f = f->next;
    }
}

static struct flux_watcher *next_due (double until)
{
    struct flux_watcher *first = NULL;
    for (struct flux_watcher *w = watchers; w; w = w->next)
        if (w->active && w->due <= until && (!first || w->due < first->due))
            first = w;
    return first;
}

static void advance (double seconds)
{
    double until = now + seconds;
    struct flux_watcher *w;
    do {
        while ((w = next_due (until))) {
            now = w->due > now ? w->due : now;
            if (w->repeat > 0)
                w->due += w->repeat;
            else
                w->active = false;
            w->cb ((flux_reactor_t *)&watchers, w, 0, w->arg);
            if (rpc_mode != RPC_HOLD) {
                rpc_take ();
                rpc_deliver ();
            }
        }
    } while (next_due (until));
    now = until;
}

/* A plugin against the clock.
 */

#include "tests/host/repeat.h"

struct flux_plugin_arg *repeat_args (json_t *in)
{
    struct flux_plugin_arg *args = calloc (1, sizeof (*args));
    args->in = json_incref (in);
    args->out = json_object ();
    return args;
}

void repeat_args_destroy (struct flux_plugin_arg *args)
{
    json_decref (args->in);
    json_decref (args->out);
    free (args);
}

static inline void repeat_call (struct flux_plugin *p,
                                const char *topic,
                                struct flux_plugin_arg *args)
{
    call (p, topic, args);
}

/* Commands.
 */

static bool mapped (const char *name)
{
    char line[4096];
    bool found = false;
    FILE *maps = fopen ("/proc/self/maps", "r");
    while (maps && fgets (line, sizeof (line), maps))
        found = found || strstr (line, name);
    if (maps)
        fclose (maps);
    return found;
}

static void answer (json_t *object)
{
    json_dumpf (object, stdout, JSON_COMPACT);
    putchar ('\n');
    fflush (stdout);
    json_decref (object);
}

static void answer_outcome (const char *error)
{
    answer (error ? json_pack ("{s:s}", "error", error) : json_pack ("{s:b}", "ok", 1));
}

static void answer_counts (void)
{
    answer (json_pack ("{s:I s:I s:I s:I s:I s:I s:I s:i}",
                       "NEW", count_state (FLUX_JOB_STATE_NEW),
                       "DEPEND", count_state (FLUX_JOB_STATE_DEPEND),
                       "PRIORITY", count_state (FLUX_JOB_STATE_PRIORITY),
                       "SCHED", count_state (FLUX_JOB_STATE_SCHED),
                       "RUN", count_state (FLUX_JOB_STATE_RUN),
                       "CLEANUP", count_state (FLUX_JOB_STATE_CLEANUP),
                       "INACTIVE", count_state (FLUX_JOB_STATE_INACTIVE),
                       "silenced", silenced));
}

static void run (json_t *command)
{
    const char *op = "";
    const char *name = "";
    const char *topic = "";
    const char *mode = "answer";
    double seconds = 0;
    json_t *in = NULL;
    json_t *conf = NULL;
    json_unpack (command,
                 "{s:s s?s s?s s?s s?F s?o s?o}",
                 "op", &op,
                 "name", &name,
                 "topic", &topic,
                 "mode", &mode,
                 "seconds", &seconds,
                 "in", &in,
                 "conf", &conf);
    if (strcmp (op, "load") == 0)
        answer_outcome (load (command));
    else if (strcmp (op, "remove") == 0)
        answer_outcome (unload (name));
    else if (strcmp (op, "config") == 0) {
        json_decref (config);
        config = json_incref (conf);
    }
    else if (strcmp (op, "reload") == 0)
        answer_outcome (reload ());
    else if (strcmp (op, "query") == 0)
        answer (query (name));
    else if (strcmp (op, "call") == 0) {
        remember (topic, in);
        call_all (topic, in);
    }
    else if (strcmp (op, "advance") == 0)
        advance (seconds);
    else if (strcmp (op, "rpc") == 0)
        rpc_mode = strcmp (mode, "hold") == 0 ? RPC_HOLD
                   : strcmp (mode, "fail") == 0 ? RPC_FAIL : RPC_ANSWER;
    else if (strcmp (op, "rpc-take") == 0)
        rpc_take ();
    else if (strcmp (op, "rpc-deliver") == 0)
        rpc_deliver ();
    else if (strcmp (op, "counts") == 0)
        answer_counts ();
    else if (strcmp (op, "queues") == 0) {
        char *text = stats_by_queue ();
        answer (json_loads (text, 0, NULL));
        free (text);
    }
    else if (strcmp (op, "log") == 0) {
        answer (json_pack ("{s:o}", "log", log_lines));
        log_lines = json_array ();
    }
    else if (strcmp (op, "repeat") == 0) {
        struct flux_plugin **p = find (name);
        answer (repeat (p ? *p : NULL, command));
    }
    else if (strcmp (op, "mapped") == 0)
        answer (json_pack ("{s:b}", "mapped", mapped (name)));
    else
        die ("unknown op");
}

static void *job_manager (void *arg)
{
    char *line = NULL;
    size_t size = 0;
    config = json_object ();
    jobs = json_object ();
    log_lines = json_array ();
    while (getline (&line, &size, stdin) > 0) {
        json_t *command = json_loads (line, 0, NULL);
        if (!command)
            die ("a command is not JSON");
        run (command);
        json_decref (command);
    }
    free (line);
    while (plugin_count > 0)
        unload (plugins[0]->name);
    if (watchers || futures)
        die ("a plugin left a timer or a request behind");
    json_decref (config);
    json_decref (jobs);
    json_decref (log_lines);
    return NULL;
}

int main (void)
{
    pthread_t thread;
    if (pthread_create (&thread, NULL, job_manager, NULL) != 0)
        die ("pthread_create failed");
    pthread_join (thread, NULL);
    return 0;
}
