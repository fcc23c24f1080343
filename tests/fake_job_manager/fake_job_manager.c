/* fake_job_manager - loads jobtap plugins like Flux's job manager, without Flux
 *
 * It does what flux-core 0.88.0 does with a plugin (jobtap.c, plugin.c): dlopen with
 * RTLD_NOW, flux_plugin_init, conf.update, callbacks for the existing jobs, callbacks, and
 * at a removal the aux destructors and dlclose. All this happens in a thread, as in the job
 * manager, and the thread ends before the process: data that a plugin leaves in the thread
 * cause a crash.
 *
 * It also counts jobs itself, in a table by job id, to compare a plugin with.
 *
 * Commands are JSON objects on standard input, one per line. Each command is one iteration
 * of the reactor loop; in "advance", so is each timer that fires. Time passes in "advance"
 * only, so that each run is the same.
 *
 *   {"op":"load", "path":P, "conf":{}, "announce":A}   A: "live" (default),
 *                            "restart", or "restart-doubled" (before 0.87.0)
 *   {"op":"remove", "name":N}       N: the name of the file
 *   {"op":"call", "topic":T, "in":{}}   a callback of all plugins, in order
 *   {"op":"cancel", "calls":[…]}   as "turn", in another thread that is being cancelled
 *   {"op":"withhold", "topic":T, "in":{}}   as "call", but no plugin is called
 *   {"op":"publish", "topic":T, "in":{}}   an event message for subscribers
 *   {"op":"turn", "calls":[{"topic":T, "in":{}}, …]}   several in one loop iteration
 *   {"op":"advance", "seconds":S}   timers fire; requests get responses
 *   {"op":"config", "conf":{}}      the broker's configuration for plugins that are loaded
 *                                   later
 *   {"op":"reload"}                 conf.update of all plugins, as in flux config reload
 *   {"op":"query", "name":N}        plugin.query
 *   {"op":"rpc", "mode":M}          M: "answer" (default), "hold", "fail"
 *   {"op":"job-list", "mode":M}     M: "answer" (default), "lag": it has no jobs yet,
 *                                   "fail"
 *   {"op":"rpc-take"}               responses to held requests get the present counts
 *   {"op":"rpc-deliver"}            held requests get their responses
 *   {"op":"resources", "answer":A}  the response to resource.status; null: there is none
 *   {"op":"respond", "topic":T, "answer":A}
 *                                   the response to T, or to "job-manager.queue-status QUEUE";
 *                                   "housekeeping": that member of job-manager.stats-get
 *   {"op":"counts"}  {"op":"queues"}  {"op":"log"}  {"op":"mapped", "name":N}
 *   {"op":"repeat", …}              measures the time of callbacks (repeat.h)
 *   {"op":"turns"}                  measures loop iterations (turns.h)
 *
 * The results of load, remove, reload, query, cancel, counts, queues, log, mapped, repeat and
 * turns are JSON objects, one per line.
 */
#include "fake_job_manager.h"
#include "tests/fake_job_manager/turns.h"

struct flux_plugin *plugins[MAX_ITEMS];
struct flux_watcher *watchers;
struct flux_future *futures;
struct flux_msg_handler *msg_handlers;
int subscriptions;
double now;
enum rpc_mode rpc_mode;
json_t *current;
json_t *resources;
json_t *responses;
json_t *log_lines;
struct handle_item handle_item;

static int plugin_count;
static json_t *config;      // the broker's
static enum rpc_mode job_list_mode;
static int silenced;        // callbacks that did not reach all plugins

void die (const char *what)
{
    fprintf (stderr, "fake_job_manager: %s\n", what);
    exit (2);
}

/* Plugins.
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
    turn_enter ();
    int rc = call (p, topic, &args);
    turn_leave ();
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
    // As in flux-core's plugin.c, before the aux destructors.
    free (p->path);
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
    turn_enter ();
    int rc = call (p, "conf.update", &args);
    turn_leave ();
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
    p->path = strdup (path);
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

/* Calls a plugin for the existing jobs. A plugin of the configuration is loaded before the
 * jobs: it is called for inactive jobs as they are read, and then for active ones.
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
    // A plugin of the configuration gets it again, when all plugins are loaded.
    if (!error && strcmp (how, "live") != 0)
        error = conf_update (p);
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

/* Calls conf.update of all plugins, until one refuses the configuration.
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
        if (f->service == STATS_GET)
            f->text = stats_get ();
        if (f->service == JOB_STATS)
            f->text = stats_by_queue ();
        if (f->service == LIST || (f->service == JOB_LIST && job_list_mode == RPC_ANSWER))
            f->text = list_active ();
        if (f->service == JOB_LIST && job_list_mode == RPC_HOLD)
            f->text = strdup ("{\"jobs\":[]}");
        if (f->service == RESOURCES && !json_is_null (resources))
            f->text = json_dumps (resources, JSON_ENCODE_ANY);
        if (f->service == OTHER) {
            json_t *response = json_object_get (responses, f->key);
            if (!response && strncmp (f->key, "job-manager.queue-status", 24) == 0)
                f->text = strdup ("{\"enable\": true, \"start\": true}");
            else if (!response && strcmp (f->key, "job-manager.queue-list") == 0)
                f->text = strdup ("{\"queues\": []}");
            else if (response && !json_is_null (response))
                f->text = json_dumps (response, JSON_ENCODE_ANY);
        }
    }
}

static struct flux_watcher *next_due (double until)
{
    struct flux_watcher *first = NULL;
    for (struct flux_watcher *w = watchers; w; w = w->next)
        if (w->active && !w->prepare && w->due <= until && (!first || w->due < first->due))
            first = w;
    return first;
}

/* The end of a loop iteration: prepare watchers are called before the reactor sleeps.
 * `response`: the topic of the response in this iteration, or NULL.
 */
static void end_turn (const char *response)
{
    struct flux_watcher *w = watchers;
    while (w) {
        if (w->active && w->prepare) {
            turn_enter ();
            w->cb ((flux_reactor_t *)&watchers, w, 0, w->arg);
            turn_leave ();
            w = watchers; // the callback may have changed the list
        }
        else
            w = w->next;
    }
    turn_ends (response);
}

/* Each response is one iteration. */
static void rpc_deliver (void)
{
    struct flux_future *f = futures;
    while (f) {
        if (f->taken && !f->delivered && f->cb) {
            char topic[sizeof (f->topic)];
            memcpy (topic, f->topic, sizeof (topic));
            f->delivered = true;
            turn_enter ();
            f->cb (f, f->arg);
            turn_leave ();
            end_turn (topic);
            f = futures; // the callback may have changed the list
        }
        else
            f = f->next;
    }
}

/* Makes calls in one loop iteration, while this thread is being cancelled, as by "flux module
 * remove --cancel job-manager" in a callback. Callbacks must return; after them the thread may
 * end.
 */
static void happen_all (json_t *calls);

static void *canceled (void *calls)
{
    pthread_cancel (pthread_self ());
    happen_all (calls);
    end_turn (NULL);
    pthread_testcancel ();
    return NULL;
}

/* Responses to all requests, and to those that callbacks for responses send. */
static void answer_requests (void)
{
    bool waits = true;
    while (waits && rpc_mode != RPC_HOLD) {
        rpc_take ();
        rpc_deliver ();
        waits = false;
        for (struct flux_future *f = futures; f; f = f->next)
            waits = waits || (f->cb && !f->delivered);
    }
}

/* Requests without a response in time fail with ETIMEDOUT. */
static void expire_requests (void)
{
    struct flux_future *f = futures;
    while (f) {
        if (f->cb && !f->delivered && f->deadline <= now) {
            f->taken = f->delivered = f->failed = f->timed_out = true;
            turn_enter ();
            f->cb (f, f->arg);
            turn_leave ();
            end_turn (NULL);
            f = futures; // the callback may have changed the list
        }
        else
            f = f->next;
    }
}

/* The first started watcher of a writable descriptor. */
static struct flux_watcher *next_writable (void)
{
    for (struct flux_watcher *w = watchers; w; w = w->next) {
        struct pollfd fd = { .fd = w->fd, .events = POLLOUT };
        if (w->active && w->fd >= 0 && poll (&fd, 1, 0) == 1)
            return w;
    }
    return NULL;
}

static void advance (double seconds)
{
    double until = now + seconds;
    struct flux_watcher *w;
    do {
        for (int i = 0; i < 1000 && (w = next_writable ()); i++) {
            turn_enter ();
            w->cb ((flux_reactor_t *)&watchers, w, FLUX_POLLOUT, w->arg);
            turn_leave ();
            end_turn (NULL);
        }
        while ((w = next_due (until))) {
            now = w->due > now ? w->due : now;
            if (w->repeat > 0)
                w->due += w->repeat;
            else
                w->active = false;
            turn_enter ();
            w->cb ((flux_reactor_t *)&watchers, w, 0, w->arg);
            turn_leave ();
            end_turn (NULL);
            answer_requests ();
            expire_requests ();
        }
        answer_requests ();
        if (!next_due (until)) {
            now = until;
            expire_requests ();
        }
    } while (next_due (until));
}

/* The time of callbacks.
 */

#include "tests/fake_job_manager/repeat.h"

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
    current = args->in;
    call (p, topic, args);
}

static inline void repeat_turn (void)
{
    end_turn (NULL);
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

static void publish (const char *topic, json_t *in)
{
    struct flux_msg msg = { .topic = topic, .payload = json_dumps (in, JSON_ENCODE_ANY) };
    struct flux_msg_handler *next;
    for (struct flux_msg_handler *mh = msg_handlers; mh && subscriptions > 0; mh = next) {
        next = mh->next;
        turn_enter ();
        if (strcmp (mh->topic, topic) == 0)
            mh->cb ((flux_t *)&plugins, mh, &msg, mh->arg);
        turn_leave ();
    }
    free (msg.payload);
}

static enum rpc_mode mode_of (const char *mode)
{
    return strcmp (mode, "answer") == 0 ? RPC_ANSWER
           : strcmp (mode, "fail") == 0 ? RPC_FAIL : RPC_HOLD;
}

static void happen (const char *topic, json_t *in)
{
    complete (in);
    remember (topic, in);
    call_all (topic, in);
}

static void happen_all (json_t *calls)
{
    size_t index;
    json_t *entry;
    json_array_foreach (calls, index, entry)
        happen (json_string_value (json_object_get (entry, "topic")),
                json_object_get (entry, "in"));
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
    json_t *resource_status = NULL;
    json_unpack (command,
                 "{s:s s?s s?s s?s s?F s?o s?o s?o}",
                 "op", &op,
                 "name", &name,
                 "topic", &topic,
                 "mode", &mode,
                 "seconds", &seconds,
                 "in", &in,
                 "conf", &conf,
                 "answer", &resource_status);
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
    else if (strcmp (op, "call") == 0)
        happen (topic, in);
    else if (strcmp (op, "cancel") == 0) {
        pthread_t thread;
        void *outcome;
        if (pthread_create (&thread, NULL, canceled, json_object_get (command, "calls")) != 0
            || pthread_join (thread, &outcome) != 0)
            die ("no thread");
        answer (json_pack ("{s:b}", "canceled", outcome == PTHREAD_CANCELED));
    }
    else if (strcmp (op, "withhold") == 0) {
        complete (in);
        remember (topic, in);
    }
    else if (strcmp (op, "turn") == 0)
        happen_all (json_object_get (command, "calls"));
    else if (strcmp (op, "advance") == 0)
        advance (seconds);
    else if (strcmp (op, "rpc") == 0)
        rpc_mode = mode_of (mode);
    else if (strcmp (op, "job-list") == 0)
        job_list_mode = mode_of (mode);
    else if (strcmp (op, "publish") == 0)
        publish (topic, in);
    else if (strcmp (op, "rpc-take") == 0)
        rpc_take ();
    else if (strcmp (op, "rpc-deliver") == 0)
        rpc_deliver ();
    else if (strcmp (op, "resources") == 0) {
        json_decref (resources);
        resources = json_incref (resource_status);
    }
    else if (strcmp (op, "respond") == 0)
        json_object_set (responses, topic, resource_status);
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
    else if (strcmp (op, "turns") == 0)
        answer (turns_answer ());
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
    responses = json_object ();
    log_lines = json_array ();
    // No nodes: the gauges are 0.
    resources = json_pack ("{s:{s:{s:[]}} s:{} s:s s:s s:s}",
                           "R", "execution", "R_lite",
                           "drain",
                           "offline", "",
                           "exclude", "",
                           "torpid", "");
    while (getline (&line, &size, stdin) > 0) {
        json_t *command = json_loads (line, 0, NULL);
        if (!command)
            die ("a command is not JSON");
        run (command);
        end_turn (NULL);
        json_decref (command);
    }
    free (line);
    while (plugin_count > 0)
        unload (plugins[0]->name);
    if (watchers || futures || msg_handlers || subscriptions != 0 || handle_item.val)
        die ("a plugin left a timer, a request, a subscription or an item of the handle behind");
    json_decref (config);
    json_decref (jobs);
    json_decref (log_lines);
    json_decref (resources);
    json_decref (responses);
    return NULL;
}

int main (void)
{
    pthread_t thread;
    setlocale (LC_ALL, ""); // as flux-broker does
    // Hash tables are the same in each run, and so is their cost.
    json_object_seed (1);
    if (pthread_create (&thread, NULL, job_manager, NULL) != 0)
        die ("pthread_create failed");
    pthread_join (thread, NULL);
    return 0;
}
