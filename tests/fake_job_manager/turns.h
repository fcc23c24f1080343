/* turns - what the plugins take of the reactor's turns
 *
 *   {"op":"turns"}   answers {"turns":N, "total":NS, "longest":NS} of those since the
 *                    last one, in nanoseconds of the thread's processor time, and
 *                    begins anew; the first one begins, for the clock is a system
 *                    call, and those are counted elsewhere
 *
 * What counts is what plugins are called for: timers, answers, the end of a turn, a
 * job's callbacks, and the announcement of all jobs at a load, which is one turn.
 */
#include <time.h>

static bool turns_measured;
static double turn_start;
static double turn_taken;   // by the turn so far
static json_int_t turns;
static double turns_total;
static double turns_longest;

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

static void turn_ends (void)
{
    turns++;
    turns_total += turn_taken;
    if (turn_taken > turns_longest)
        turns_longest = turn_taken;
    turn_taken = 0;
}

static json_t *turns_answer (void)
{
    json_t *answer = json_pack ("{s:I s:f s:f}",
                                "turns", turns,
                                "total", turns_total,
                                "longest", turns_longest);
    turns_measured = true;
    turns = 0;
    turns_total = turns_longest = turn_taken = 0;
    return answer;
}
