/* repeat - measures the time of a plugin's callbacks
 *
 *   {"op":"repeat", "name":N, "count":C, "calls":[{"topic":T, "in":{}}, …],
 *    "turn":N}
 *
 * The plugin gets C calls in all, with each of the list in turn. The result is
 * {"nanoseconds":X}, the time of one call. The clock starts after a tenth of the calls,
 * because the caches may not have the host's code and data before. Arguments are created
 * before the measurement, as the job manager creates them once for all plugins.
 *
 * N calls are one iteration of the reactor loop (default 1); 0: all calls are.
 *
 * The host defines repeat_args(), repeat_call() and repeat_turn(), the end of an iteration.
 */
#include <time.h>

#define MAX_CALLS 16

struct flux_plugin_arg *repeat_args (json_t *in);
void repeat_args_destroy (struct flux_plugin_arg *args);
static inline void repeat_call (struct flux_plugin *p,
                                const char *topic,
                                struct flux_plugin_arg *args);

static inline void repeat_turn (void);

static double clock_nanoseconds (void)
{
    struct timespec t;
    clock_gettime (CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static json_t *repeat (struct flux_plugin *p, json_t *command)
{
    const char *topics[MAX_CALLS];
    struct flux_plugin_arg *args[MAX_CALLS];
    size_t calls = 0;
    json_t *list = json_object_get (command, "calls");
    json_int_t count = json_integer_value (json_object_get (command, "count"));
    json_t *turn_length = json_object_get (command, "turn");
    json_int_t length = turn_length ? json_integer_value (turn_length) : 1;
    size_t index;
    json_t *call;
    json_array_foreach (list, index, call) {
        if (calls == MAX_CALLS)
            return json_pack ("{s:s}", "error", "too many calls");
        topics[calls] = json_string_value (json_object_get (call, "topic"));
        args[calls++] = repeat_args (json_object_get (call, "in"));
    }
    if (!p || calls == 0)
        return json_pack ("{s:s}", "error", "no plugin or no calls");

    json_int_t unmeasured = count / 10;
    double start = 0;
    size_t turn = 0;
    for (json_int_t i = 0; i < count; i++) {
        if (i == unmeasured)
            start = clock_nanoseconds ();
        repeat_call (p, topics[turn], args[turn]);
        if (length > 0 && (i + 1) % length == 0)
            repeat_turn ();
        if (++turn == calls)
            turn = 0;
    }
    double end = clock_nanoseconds ();

    while (calls > 0)
        repeat_args_destroy (args[--calls]);
    return json_pack ("{s:f}", "nanoseconds", (end - start) / (count - unmeasured));
}
