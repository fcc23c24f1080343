//! The results of jobs, how long they were in each state, and their exceptions.

scenarios!(results: results_and_times_are_those_of_the_host);
