/* flux - the functions that the plugin imports, as in flux-core 0.88.0
 */
#include "fake_job_manager.h"

flux_t *flux_jobtap_get_flux (flux_plugin_t *p)
{
    return (flux_t *)&plugins;
}

/* The items of the handle. Their destructors would run when plugins are unmapped. */
void *flux_aux_get (flux_t *h, const char *name)
{
    return strcmp (name, handle_item.name) == 0 ? handle_item.val : NULL;
}

int flux_aux_set (flux_t *h, const char *name, void *aux, flux_free_f destroy)
{
    if (destroy || (handle_item.val && strcmp (name, handle_item.name) != 0))
        die ("an item with a destructor, or more than one");
    snprintf (handle_item.name, sizeof (handle_item.name), "%s", name);
    handle_item.val = aux;
    return 0;
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

static json_t *job_of (flux_jobid_t id)
{
    return id == UINT64_MAX ? current : find_job (id);
}

/* As in flux-core's jobtap.c, from the job's end_event. */
int flux_jobtap_get_job_result (flux_plugin_t *p,
                                flux_jobid_t id,
                                flux_job_result_t *rp)
{
    const char *name = NULL;
    const char *type = "";
    int status = -1;
    json_t *job = job_of (id);
    if (!job) {
        errno = ENOENT;
        return -1;
    }
    if (json_unpack (job,
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

/* The names of posted events are in the job's "posted". */
int flux_jobtap_job_event_posted (flux_plugin_t *p, flux_jobid_t id, const char *name)
{
    return json_object_get (json_object_get (job_of (id), "posted"), name) ? 1 : 0;
}

flux_msg_handler_t *flux_msg_handler_create (flux_t *h,
                                             const struct flux_match match,
                                             flux_msg_handler_f cb,
                                             void *arg)
{
    struct flux_msg_handler *mh = calloc (1, sizeof (*mh));
    mh->topic = match.topic_glob;
    mh->cb = cb;
    mh->arg = arg;
    mh->next = msg_handlers;
    msg_handlers = mh;
    return mh;
}

void flux_msg_handler_start (flux_msg_handler_t *mh)
{
}

void flux_msg_handler_destroy (flux_msg_handler_t *mh)
{
    struct flux_msg_handler **link = &msg_handlers;
    while (*link && *link != mh)
        link = &(*link)->next;
    if (!*link)
        die ("a message handler was destroyed twice");
    *link = mh->next;
    free (mh);
}

int flux_event_decode (const flux_msg_t *msg, const char **topic, const char **s)
{
    if (topic)
        *topic = msg->topic;
    *s = msg->payload;
    return 0;
}

static flux_future_t *subscribe (int flags, int by)
{
    if (flags != FLUX_RPC_NORESPONSE)
        die ("a subscription that expects a response");
    subscriptions += by;
    struct flux_future *f = calloc (1, sizeof (*f));
    f->service = SUBSCRIBE;
    f->refcount = 1;
    f->next = futures;
    futures = f;
    return f;
}

flux_future_t *flux_event_subscribe_ex (flux_t *h, const char *topic, int flags)
{
    return subscribe (flags, 1);
}

flux_future_t *flux_event_unsubscribe_ex (flux_t *h, const char *topic, int flags)
{
    return subscribe (flags, -1);
}

/* As in flux-core's jobtap.c, for active and inactive jobs. */
flux_plugin_arg_t *flux_jobtap_job_lookup (flux_plugin_t *p, flux_jobid_t id)
{
    json_t *job = find_job (id);
    if (!job) {
        errno = ENOENT;
        return NULL;
    }
    struct flux_plugin_arg *args = calloc (1, sizeof (*args));
    args->in = json_incref (job);
    args->out = json_object ();
    return args;
}

void flux_plugin_arg_destroy (flux_plugin_arg_t *args)
{
    json_decref (args->in);
    json_decref (args->out);
    free (args);
}

const char *flux_plugin_get_path (flux_plugin_t *p)
{
    return p->path;
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
    if (strcmp (name, "rank") == 0)
        return "0";
    // A nested instance, for some tests.
    const char *level = getenv ("STATE_COUNTS_HOST_LEVEL");
    if (strcmp (name, "instance-level") == 0)
        return level ? level : "0";
    if (strcmp (name, "jobid") == 0 && level)
        return "ƒABC";
    // The version of Flux: a broker has this attribute, the fake one only for some tests.
    if (strcmp (name, "version") == 0 && getenv ("STATE_COUNTS_HOST_VERSION"))
        return getenv ("STATE_COUNTS_HOST_VERSION");
    errno = ENOENT; // jobid: the instance is not a job
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
    w->fd = -1;
    w->cb = cb;
    w->arg = arg;
    w->next = watchers;
    watchers = w;
    return w;
}

flux_watcher_t *flux_prepare_watcher_create (flux_reactor_t *r,
                                             flux_watcher_f cb,
                                             void *arg)
{
    struct flux_watcher *w = flux_timer_watcher_create (r, 0, 0, cb, arg);
    w->prepare = true;
    return w;
}

flux_watcher_t *flux_fd_watcher_create (flux_reactor_t *r,
                                        int fd,
                                        int events,
                                        flux_watcher_f cb,
                                        void *arg)
{
    if (events != FLUX_POLLOUT)
        die ("a watcher of a descriptor for another event than FLUX_POLLOUT");
    struct flux_watcher *w = flux_timer_watcher_create (r, INFINITY, 0, cb, arg);
    w->fd = fd;
    return w;
}

double flux_reactor_now (flux_reactor_t *r)
{
    static double start;
    if (start == 0)
        start = time (NULL);
    return start + now;
}

void flux_watcher_start (flux_watcher_t *w)
{
    w->active = true;
}

void flux_watcher_stop (flux_watcher_t *w)
{
    w->active = false;
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
    if (strcmp (topic, "job-manager.stats-get") == 0)
        f->service = STATS_GET;
    else if (strcmp (topic, "job-list.job-stats") == 0)
        f->service = JOB_STATS;
    else if (strcmp (topic, "job-list.list") == 0 && s && strstr (s, "sched"))
        f->service = JOB_LIST;
    else if (strcmp (topic, "job-manager.list") == 0 && s && strstr (s, "max_entries"))
        f->service = LIST;
    else if (strcmp (topic, "resource.status") == 0)
        f->service = RESOURCES;
    else if (strcmp (topic, "job-manager.queue-list") == 0
             || strcmp (topic, "job-manager.queue-status") == 0
             || strcmp (topic, "job-list.list") == 0) {
        json_t *payload = json_loads (s ? s : "{}", 0, NULL);
        const char *name = json_string_value (json_object_get (payload, "name"));
        f->service = OTHER;
        if (asprintf (&f->key, "%s%s%s", topic, name ? " " : "", name ? name : "") < 0)
            die ("out of memory");
        json_decref (payload);
    }
    else
        die ("request for an unknown service");
    snprintf (f->topic, sizeof (f->topic), "%s", topic);
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
    f->deadline = now + timeout;
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
    free (f->key);
    free (f);
}

void flux_future_destroy (flux_future_t *f)
{
    flux_future_decref (f);
}

int flux_rpc_get (flux_future_t *f, const char **s)
{
    if (f->failed || !f->delivered || !f->text) {
        errno = f->timed_out ? ETIMEDOUT : ENOSYS;
        return -1;
    }
    *s = f->text;
    return 0;
}
