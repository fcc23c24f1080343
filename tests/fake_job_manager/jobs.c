/* jobs - the host's own table of jobs: a naive count of the callbacks
 */
#include "fake_job_manager.h"

json_t *jobs;

json_int_t state_of (json_t *job)
{
    return json_integer_value (json_object_get (job, "state"));
}

json_int_t count_state (int state)
{
    const char *id;
    json_t *job;
    json_int_t count = 0;
    json_object_foreach (jobs, id, job)
        count += (state_of (job) == state);
    return count;
}

json_int_t count_active (void)
{
    return json_object_size (jobs) - count_state (FLUX_JOB_STATE_INACTIVE);
}

/* The response of job-manager.stats-get, as far as the plugin reads it. */
char *stats_get (void)
{
    json_t *answer = json_pack ("{s:I s:I}",
                                "active_jobs", count_active (),
                                "inactive_jobs", count_state (FLUX_JOB_STATE_INACTIVE));
    json_t *housekeeping = json_object_get (responses, "housekeeping");
    if (housekeeping)
        json_object_set (answer, "housekeeping", housekeeping);
    char *text = json_dumps (answer, 0);
    json_decref (answer);
    return text;
}

/* The response of job-manager.list, as far as the plugin reads it. */
char *list_active (void)
{
    const char *id;
    json_t *job;
    json_t *list = json_array ();
    json_object_foreach (jobs, id, job)
        if (state_of (job) != FLUX_JOB_STATE_INACTIVE)
            json_array_append_new (list, json_pack ("{s:O s:O}",
                                                    "id", json_object_get (job, "id"),
                                                    "state", json_object_get (job, "state")));
    json_t *answer = json_pack ("{s:o}", "jobs", list);
    char *text = json_dumps (answer, 0);
    json_decref (answer);
    return text;
}

json_t *find_job (flux_jobid_t id)
{
    char key[32];
    snprintf (key, sizeof (key), "%lld", (long long)id);
    return json_object_get (jobs, key);
}

static const char *state_name (int state)
{
    return flux_job_statetostr (state, "l");
}

/* The output of flux job stats, as far as the plugin reads it. */
char *stats_by_queue (void)
{
    const char *id;
    json_t *job;
    json_t *queues = json_object ();
    json_object_foreach (jobs, id, job) {
        const char *name = "";
        json_unpack (job, "{s:{s?{s?{s?s}}}}", "jobspec", "attributes", "system", "queue", &name);
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

static const char *id_of (json_t *in)
{
    static char id[32];
    snprintf (id,
              sizeof (id),
              "%lld",
              (long long)json_integer_value (json_object_get (in, "id")));
    return id;
}

/* Adds the items that the job manager passes in each callback of a job, and that a test or
 * a recording has only once: the user, the time of submission, the jobspec and R.
 */
void complete (json_t *in)
{
    json_t *defaults = json_pack ("{s:i s:f s:{s:{s:{}}}}",
                                  "userid", 0,
                                  "t_submit", 1.0,
                                  "jobspec", "attributes", "system");
    json_t *job = json_object_get (jobs, id_of (in));
    json_t *known = job ? job : defaults;
    json_t *resources = json_object_get (json_object_get (known, "jobspec"), "resources");
    json_object_update_missing (in, known);
    json_object_update_missing (in, defaults);
    json_t *jobspec = json_object_get (in, "jobspec");
    if (resources && !json_object_get (jobspec, "resources"))
        json_object_set (jobspec, "resources", resources);
    json_decref (defaults);
}

void remember (const char *topic, json_t *in)
{
    const char *id = id_of (in);
    if (strcmp (topic, "job.inactive-remove") == 0)
        json_object_del (jobs, id);
    else if (strcmp (topic, "job.new") == 0
             || strcmp (topic, "job.inactive-add") == 0
             || strcmp (topic, "job.update") == 0
             || fnmatch ("job.state.*", topic, 0) == 0) {
        json_t *job = json_pack ("{s:O s:O s:O s:O s:O* s:O* s:O* s:O* s:O* s:O*}",
                                 "id", json_object_get (in, "id"),
                                 "state", json_object_get (in, "state"),
                                 "userid", json_object_get (in, "userid"),
                                 "jobspec", json_object_get (in, "jobspec"),
                                 "t_submit", json_object_get (in, "t_submit"),
                                 "R", json_object_get (in, "R"),
                                 "urgency", json_object_get (in, "urgency"),
                                 "priority", json_object_get (in, "priority"),
                                 "end_event", json_object_get (in, "end_event"),
                                 "posted", json_object_get (in, "posted"));
        if (job)
            json_object_set_new (jobs, id, job);
    }
}
