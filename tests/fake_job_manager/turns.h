/* turns - the time of plugins in iterations of the reactor loop
 *
 *   {"op":"turns"}   the result is {"turns":N, "total":NS, "longest":NS,
 *                    "responses":{TOPIC:[NS, …]}} since the last such command, in
 *                    nanoseconds of the thread's processor time; the first one starts the
 *                    measurement, because the clock is a system call, and system calls are
 *                    counted in other measurements
 *
 * The time includes timers, responses, prepare watchers, callbacks of jobs, and the
 * callbacks for all existing jobs at a load, which is one iteration.
 */
#include <time.h>

static bool turns_measured;
static double turn_start;
static double turn_taken;   // in this iteration so far
static json_int_t turns;
static double turns_total;
static double turns_longest;
static json_t *turns_responses;     // iterations with a response, by its topic

static double thread_nanoseconds (void)
{
    struct timespec t;
    clock_gettime (CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Around each call of a plugin. */
static void turn_enter (void)
{
    if (turns_measured)
        turn_start = thread_nanoseconds ();
}

static void turn_leave (void)
{
    if (turns_measured)
        turn_taken += thread_nanoseconds () - turn_start;
}

/* `response`: the topic of the response in this iteration, or NULL. */
static void turn_ends (const char *response)
{
    if (turns_measured && response) {
        json_t *times = json_object_get (turns_responses, response);
        if (!times) {
            times = json_array ();
            json_object_set_new (turns_responses, response, times);
        }
        json_array_append_new (times, json_real (turn_taken));
    }
    turns++;
    turns_total += turn_taken;
    if (turn_taken > turns_longest)
        turns_longest = turn_taken;
    turn_taken = 0;
}

static json_t *turns_answer (void)
{
    json_t *answer = json_pack ("{s:I s:f s:f s:o*}",
                                "turns", turns,
                                "total", turns_total,
                                "longest", turns_longest,
                                "responses", turns_responses);
    turns_responses = json_object ();
    turns_measured = true;
    turns = 0;
    turns_total = turns_longest = turn_taken = 0;
    return answer;
}
