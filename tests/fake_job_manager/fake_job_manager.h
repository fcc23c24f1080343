/* fake_job_manager.h - declarations of the fake job manager
 *
 * flux.c               the functions that the plugin imports
 * jobs.c               a naive count of the jobs, to compare a plugin with
 * fake_job_manager.c   plugins, time, commands
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fake_job_manager/test_plugins.h"

#define MAX_ITEMS 64

struct handler {
    char *topic;
    flux_plugin_f cb;
    void *arg;
};

struct flux_plugin {
    void *dso;
    char *name;
    char *path;
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
    bool prepare;       // called at the end of each loop iteration
    int fd;             // called in "advance" while it is writable; -1 for none
    flux_watcher_f cb;
    void *arg;
    struct flux_watcher *next;
};

struct flux_msg {
    const char *topic;
    char *payload;
};

struct flux_msg_handler {
    const char *topic;
    flux_msg_handler_f cb;
    void *arg;
    struct flux_msg_handler *next;
};

enum service { STATS_GET, JOB_STATS, JOB_LIST, LIST, RESOURCES, OTHER, SUBSCRIBE };

struct flux_future {
    int refcount;
    bool taken;
    bool delivered;
    bool failed;
    bool timed_out;
    double deadline;
    enum service service;
    char topic[32];
    char *text;
    char *key;          // of OTHER, in `responses`
    flux_continuation_f cb;
    void *arg;
    struct flux_future *next;
};

enum rpc_mode { RPC_ANSWER, RPC_HOLD, RPC_FAIL };

/* The host's state: fake_job_manager.c. */
extern struct flux_plugin *plugins[MAX_ITEMS];
extern struct flux_watcher *watchers;
extern struct flux_future *futures;
extern struct flux_msg_handler *msg_handlers;
extern int subscriptions;   // to any topic
extern double now;
extern enum rpc_mode rpc_mode;
extern json_t *current;     // the callback's "in"
extern json_t *log_lines;
extern struct handle_item { char name[64]; void *val; } handle_item;
extern json_t *resources;   // the response of resource.status
extern json_t *responses;   // of other services, by topic, or topic and queue; null: none

void die (const char *what);

/* The host's own table of jobs: jobs.c. */
extern json_t *jobs;        // id -> its state and the items of its callbacks

json_int_t state_of (json_t *job);
json_int_t count_state (int state);
json_int_t count_active (void);
char *stats_get (void);
char *stats_by_queue (void);
char *list_active (void);
json_t *find_job (flux_jobid_t id);
void complete (json_t *in);
void remember (const char *topic, json_t *in);
